"""What is wrong with a request is refused with a clear word, and changes nothing."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from packages.engine.tests.rest.boxes import Box
from packages.engine.tests.rest.test_executions import GREET

YAML = {"Content-Type": "application/yaml"}
JSON = {"Content-Type": "application/json"}


def test_broken_json_is_refused_with_its_place(shared_box: Box) -> None:
    for text in ('{"value": }', '{"value": 1', "nope", '{"value": 1}}', '{"value": NaN}', "\xff"):
        answer = shared_box.call("PUT", "/settings/execution-mode", text.encode("latin-1"), headers=JSON)
        assert (answer.status, answer.code) == (400, "not_json"), text
        assert "byte" in answer.json["error"]["message"] or "truncated" in answer.json["error"]["message"], (
            text
        )


def test_a_body_nested_beyond_reason_is_refused(shared_box: Box) -> None:
    text = '{"value":' + "[" * 100_000 + "]" * 100_000 + "}"

    answer = shared_box.call("PUT", "/settings/execution-mode", text, headers=JSON)

    assert answer.status == 400


def test_every_wrong_field_is_told_at_once(shared_box: Box) -> None:
    body = {"inputs": [], "mode": 7, "version": -1, "inptus": {}}

    answer = shared_box.call("POST", "/workflows/greet:run", body)

    problems = answer.json["error"]["details"]["problems"]
    assert (answer.status, answer.code) == (400, "wrong_body")
    assert sorted(problem["where"] for problem in problems) == ["inptus", "inputs", "mode", "version"]
    assert any(problem.get("hint") == "did you mean 'inputs'?" for problem in problems)


@pytest.mark.parametrize("body", ["[]", "7", '"x"', "null"])
def test_a_body_that_is_no_object_is_refused(shared_box: Box, body: str) -> None:
    answer = shared_box.call("POST", "/auth/login", body, who="", headers=JSON)

    assert (answer.status, answer.code) == (400, "wrong_body")


def test_missing_fields_are_named(shared_box: Box) -> None:
    answer = shared_box.call("POST", "/auth/login", {}, who="")

    wheres = [problem["where"] for problem in answer.json["error"]["details"]["problems"]]
    assert (answer.status, wheres) == (400, ["api_key_id", "api_secret"])


@pytest.mark.parametrize(
    ("path", "headers", "size"),
    [
        ("/settings/execution-mode", JSON, (1 << 20) + 1),
        ("/workflows", YAML, (256 << 10) + 1),
        ("/workflows:validate", YAML, (256 << 10) + 1),
        ("/auth/login", JSON, (4 << 10) + 1),
    ],
)
def test_a_body_over_the_limit_is_refused(
    shared_box: Box, path: str, headers: dict[str, str], size: int
) -> None:
    method = "PUT" if path.startswith("/settings") else "POST"

    told = shared_box.call(method, path, b" " * size, headers=headers)

    assert (told.status, told.code) == (413, "body_too_large")


def test_a_body_over_the_limit_that_does_not_tell_its_size_is_refused(shared_box: Box) -> None:
    def chunks() -> Any:
        for _ in range(300):
            yield b"#" * 1_000 + b"\n"

    answer = shared_box.call("POST", "/workflows", chunks(), headers=YAML)

    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_body_of_another_type_is_refused(shared_box: Box) -> None:
    form = shared_box.call("POST", "/auth/login", "a=b", headers={"Content-Type": "text/plain"})
    untyped = shared_box.call("POST", "/workflows", GREET)
    charset = shared_box.call(
        "POST", "/workflows:validate", GREET, headers={"Content-Type": "Text/YAML; charset=utf-8"}
    )

    assert (form.status, form.code) == (415, "unsupported_media_type")
    assert (untyped.status, charset.status) == (415, 200)


def test_a_body_where_none_belongs_is_refused(shared_box: Box) -> None:
    answer = shared_box.call("POST", "/executions/run-1:pause", {"a": 1})

    assert (answer.status, answer.code) == (400, "body_not_wanted")


def test_query_parameters_are_checked(shared_box: Box) -> None:
    for path in (
        "/executions?limit=0",
        "/executions?limit=501",
        "/executions?limit=many",
        "/executions?limit=-1",
        "/executions?cursor=nope",
        "/executions?cursor=WyJhIl0=",
        "/workflows?cursor=WzFd",
        "/executions?stauts=failed",
        "/executions/run-1?wait_ms=60001",
        "/workflows/greet?version=x",
    ):
        answer = shared_box.call("GET", path)
        assert (answer.status, answer.code) == (400, "wrong_query"), path
    hint = shared_box.call("GET", "/executions?stauts=failed").json["error"]["details"]["problems"][0]["hint"]
    assert hint == "did you mean 'status'?"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "unknown_path"),
        ("GET", "/executions/run-nope", 404, "not_found"),
        ("GET", "/executions/run-nope/steps", 404, "not_found"),
        ("GET", "/executions/run-nope/logs", 404, "not_found"),
        ("POST", "/executions/run-nope:cancel", 404, "not_found"),
        ("GET", "/approvals/apr-nope", 404, "not_found"),
        ("POST", "/approvals/apr-nope:approve", 404, "not_found"),
        ("GET", "/workflows/nope", 404, "unknown_workflow"),
        ("DELETE", "/workflows/nope", 404, "unknown_workflow"),
        ("POST", "/workflows/nope:run", 404, "unknown_workflow"),
        ("GET", "/agents/nope", 404, "unknown_plugin"),
        ("GET", "/agents/opener", 404, "unknown_plugin"),
        ("GET", "/settings/nope", 404, "unknown_setting"),
        ("PATCH", "/settings/execution-mode", 405, "method_not_allowed"),
        ("PUT", "/executions", 405, "method_not_allowed"),
        ("GET", "/workflows/..%2f..%2fsettings", 404, "unknown_path"),
        ("GET", "/executions/%00", 404, "not_found"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(
    shared_box: Box, method: str, path: str, status: int, code: str
) -> None:
    answer = shared_box.call(method, path)

    assert (answer.status, answer.code) == (status, code)
    assert set(answer.json["error"]) == {"code", "kind", "message", "details"}


def test_ten_mistakes_in_a_runbook_are_ten_findings_and_nothing_is_stored(box: Box) -> None:
    runbook = "nme: x\nsteps:\n" + "".join(
        f"  - id: s{n}\n    plugn: kit\n    action: look\n" for n in range(9)
    )

    refused = box.call("POST", "/workflows?file=mine.yaml", runbook, headers=YAML)
    checked = box.call("POST", "/workflows:validate?file=mine.yaml", runbook, headers=YAML)

    problems = refused.json["error"]["details"]["problems"]
    assert (refused.status, refused.code, checked.status) == (400, "bad_runbook", 200)
    assert len(problems) >= 10
    assert {problem["file"] for problem in problems} == {"mine.yaml"}
    assert all(problem["line"] > 0 for problem in problems)
    assert (checked.json["valid"], checked.json["problems"]) == (False, problems)
    assert box.get("/workflows")["items"] == []


def test_a_runbook_is_checked_against_the_actions_that_are_registered(box: Box) -> None:
    wrong = GREET.replace("action: change", "action: chnage").replace("{text:", "{txt:")
    unknown = GREET.replace("plugin: kit", "plugin: later")

    refused = box.store_runbook(wrong)
    accepted = box.store_runbook(unknown)

    messages = [problem["message"] for problem in refused.json["error"]["details"]["problems"]]
    assert refused.status == 400
    assert any("chnage" in message for message in messages)
    assert any("txt" in message for message in messages)
    assert (accepted.status, len(accepted.json["warnings"])) == (201, 2)


def test_wrong_inputs_are_all_told_and_nothing_runs(box: Box) -> None:
    box.store_runbook(GREET)

    answer = box.call("POST", "/workflows/greet:run", {"inputs": {"txet": "x", "other": 1}})

    problems = answer.json["error"]["details"]["problems"]
    assert (answer.status, answer.code, len(problems)) == (400, "bad_inputs", 3)
    assert box.get("/executions")["items"] == []


def test_an_idempotency_key_that_is_none_is_refused(box: Box) -> None:
    box.store_runbook(GREET)
    for key in ("x" * 201, "\u00fc"):
        answer = box.call(
            "POST", "/workflows/greet:run", {"inputs": {"text": "x"}}, headers={"Idempotency-Key": key}
        )
        assert answer.status == 400


def test_what_is_no_http_at_all_does_not_disturb_the_others(shared_box: Box) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared_box.port, timeout=10)
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(b"\x16\x03\x01 this is no request\r\n\r\n")
    reply = connection.sock.recv(100)
    connection.close()

    assert b"400" in reply
    assert shared_box.call("GET", "/healthz", who="").status == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_does_no_harm(shared_box: Box) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared_box.port, timeout=10)
    connection.putrequest("POST", "/api/v1/workflows")
    for name, value in {**YAML, "Authorization": f"Bearer {shared_box.token('admin')}"}.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", "1000")
    connection.endheaders()
    connection.send(b"name: half")
    connection.close()

    assert shared_box.get("/settings")["items"]
    assert "half" not in json.dumps(shared_box.get("/workflows"))
