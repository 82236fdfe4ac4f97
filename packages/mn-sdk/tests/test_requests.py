"""Each request is, byte for byte, the one that the published client makes for the same arguments.

requests.json holds what a published client sent: method, arguments, path, bytes, and its deadline with a
timeout of 10 seconds (null for none).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from headway_wire.mirrorneuron.calls import RPCS
from mn_sdk.calls import Call, body
from mn_sdk.requests import cluster, deployments, jobs, operations, schedules, stable_jobs

SENT: list[dict[str, Any]] = json.loads((Path(__file__).parent / "requests.json").read_text())
MODULES = (jobs, deployments, schedules, cluster, operations, stable_jobs)


def given(value: Any) -> Any:
    """Arguments as they were: bytes are kept as {"bytes": hex}."""
    match value:
        case {"bytes": str(text)}:
            return bytes.fromhex(text)
        case dict():
            return {key: given(item) for key, item in value.items()}
        case list():
            return [given(item) for item in value]
        case _:
            return value


def call_of(method: str, *args: Any, **kwargs: Any) -> Call[Any]:
    build = next(getattr(module, method) for module in MODULES if hasattr(module, method))
    made: Call[Any] = build(*args, **kwargs)
    return made


@pytest.mark.parametrize("sent", SENT, ids=lambda sent: sent["method"])
def test_a_request_is_the_published_one_byte_for_byte(sent: dict[str, Any]) -> None:
    call = call_of(sent["method"], *given(sent["args"]), **given(sent["kwargs"]))

    assert call.path == sent["path"]
    assert body(call.request).hex() == sent["hex"]
    assert call.deadline(10.0) == sent["timeout"]


def test_every_call_of_the_interface_is_made_and_every_request_is_tried() -> None:
    tried = {sent["method"] for sent in SENT}
    made = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    }

    assert made == tried
    assert {sent["path"] for sent in SENT} == set(RPCS)


def test_calls_that_end_workers_wait_at_least_thirty_seconds() -> None:
    for call in (jobs.cancel_job("j"), jobs.cancel_all_jobs()):
        assert [call.deadline(client_s) for client_s in (1.0, 30.0, 45.0, None)] == [30.0, 30.0, 45.0, None]


def test_a_stream_has_the_deadline_of_its_client_unless_it_names_one() -> None:
    assert jobs.stream_events("j").deadline(7.0) == 7.0
    assert jobs.stream_events("j", timeout=3.0).deadline(7.0) == 3.0
    assert jobs.stream_events("j", timeout=None).deadline(7.0) is None
    assert operations.stream_operation_events("o", timeout=None).deadline(7.0) is None


@pytest.mark.parametrize("key", ["", "  ", "\t\n"])
def test_an_input_without_an_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key must not be blank"):
        stable_jobs.send_run_input("r", "i", {}, idempotency_key=key)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        schedules.emit_trigger_event("e", {"x": value})


def test_force_keeps_what_the_manifest_says_besides() -> None:
    text = '{"graph_id": "g", "metadata": {"owner": "ada", "mn_validation": {"note": 1}}}'

    sent = json.loads(jobs.submit_job(text, {}, force=True).request.manifest_json)  # type: ignore[attr-defined]

    assert sent == {
        "graph_id": "g",
        "metadata": {
            "owner": "ada",
            "mn_validation": {
                "note": 1,
                "force": True,
                "status": "skipped",
                "skipped_checks": ["services", "input_validation", "soft_requirements"],
            },
        },
    }


@pytest.mark.parametrize("text", ["nope", "[1]", '{"metadata": 5}', ""])
def test_force_leaves_what_is_no_manifest_for_the_runtime_to_refuse(text: str) -> None:
    call = jobs.submit_job(text, {}, force=True)

    assert call.request.manifest_json == text  # type: ignore[attr-defined]


def test_the_log_hears_ids_and_names_of_a_request_and_nothing_else() -> None:
    request = deployments.deploy_job('{"secret": 1}', {"a": b"secret"}, "agent-api", {"secret": 1})
    handshake = cluster.network_handshake("secret", "n", {"secret": 1})
    sent = stable_jobs.send_run_input("r-1", "secret", {"secret": 1}, idempotency_key="secret")

    assert request.about() == "mirrorneuron.job.v1.JobService/DeployJob deployment_key='agent-api'"
    assert handshake.about() == "mirrorneuron.cluster.v1.ClusterService/NetworkHandshake node_name='n'"
    assert sent.about() == "mirrorneuron.job.v2.JobService/SendRunInput run_id='r-1'"
