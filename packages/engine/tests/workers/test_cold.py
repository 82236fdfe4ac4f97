"""Cold workers: what they see, what they answer, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from headway.core.events import Emission, Message

from packages.engine.tests.workers.boxes import Box, box, node, python

SEE = """
import json, os
seen = {
    "env": dict(os.environ), "cwd": os.getcwd(), "stdin": os.read(0, 10).decode(),
    "pgid": os.getpgid(0) == os.getpid(),
    "files": {name: open(os.environ[name]).read() for name in
              ("MN_INPUT_FILE", "MN_MESSAGE_FILE", "MN_BODY_FILE", "MN_CONTEXT_FILE")},
    "beside": sorted(os.listdir(os.path.dirname(os.environ["MN_INPUT_FILE"]))),
}
print(json.dumps({"complete_step": seen}))
"""


def sandbox(output: Any) -> dict[str, Any]:
    found: dict[str, Any] = output["sandbox"]
    return found


def test_a_worker_sees_its_files_and_its_environment(tmp_path: Path) -> None:
    async def scenario() -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "MN_X": "1",
            "MN_GRPC_AUTH_TOKEN": "t0psecret",
            "OTHER": "no",
            "ASKED": "yes",
        }
        async with box(tmp_path, environ=environ) as b:
            b.bundle(
                node(
                    python(SEE),
                    environment={"MN_JOB_ID": "stable", "MINE": "m"},
                    pass_env=["ASKED", "ABSENT"],
                )
            )
            ledger = {
                "run_id": "r", "step_id": "s", "attempt_id": "s:attempt:1", "attempt": 1,
                "deadline_ms": 1_700_000_000_500, "idempotency_key": "k",
            }  # fmt: skip
            allocation = {
                "agent_id": "a",
                "devices": [{"id": "gpu-1", "vendor": "nvidia", "index": 3}],
                "ports": [{"label": "web-ui", "port": 20_001, "protocol": "tcp"}],
                "volumes": [{"name": "data", "source": "/srv", "target": "/data", "read_only": True}],
            }
            message = Message("m1", "ask", {"x": [1, "ü"]}, "b", {"headers": {"h": 1}, "correlation_id": "c"})
            delivery = b.delivery(message=message, ledger=ledger, memory={"n": 2})
            delivery.call.params["allocation"] = allocation
            b.link.deliver([delivery])
            seen = (await b.result(delivery.id)).done[0]

        env, files = seen["env"], seen["files"]
        assert seen["stdin"] == "" and seen["pgid"]
        assert seen["cwd"] == env["MN_WORKDIR"] == str(Path(env["MN_INPUT_FILE"]).parent)
        assert "OTHER" not in env and "MN_GRPC_AUTH_TOKEN" not in env
        assert (env["MN_X"], env["ASKED"], env["MINE"], env["MN_JOB_ID"]) == ("1", "yes", "m", "stable")
        assert (env["MN_AGENT_ID"], env["MN_AGENT_TYPE"], env["MN_AGENT_TEMPLATE"]) == (
            "a",
            "executor",
            "generic",
        )
        assert (env["MN_BODY_CONTENT_TYPE"], env["MN_BODY_CONTENT_ENCODING"]) == (
            "application/json",
            "identity",
        )
        assert (env["MN_WORKFLOW_STEP_ID"], env["MN_WORKFLOW_ATTEMPT"]) == ("s", "1")
        assert env["MN_WORKFLOW_DEADLINE_AT"] == "2023-11-14T22:13:20.500Z"
        assert "MN_WORKFLOW_REGION_ID" not in env
        assert json.loads(env["MN_ALLOCATION_JSON"]) == allocation and env["MN_ARTIFACTS_JSON"] == "[]"
        assert (env["MN_ALLOCATED_DEVICE_IDS"], env["CUDA_VISIBLE_DEVICES"]) == ("gpu-1", "3")
        assert (env["MN_GPU_DRIVER"], env["MN_PORT_WEB_UI"]) == ("cuda", "20001")
        assert (env["MN_VOLUME_DATA"], env["MN_VOLUME_DATA_TARGET"]) == ("/srv", "/data")
        assert json.loads(files["MN_INPUT_FILE"]) == {"x": [1, "ü"]} == json.loads(files["MN_BODY_FILE"])
        whole = json.loads(files["MN_MESSAGE_FILE"])
        assert whole["envelope"] | {"timestamp": ""} == {
            "spec_version": "mn-msg/1", "message_id": "m1", "job_id": "run-1", "from": "b", "to": "a",
            "type": "ask", "class": "event", "timestamp": "", "correlation_id": "c", "attempt": 1,
            "priority": 100, "content_type": "application/json", "content_encoding": "identity",
        }  # fmt: skip
        assert whole["headers"]["h"] == 1 and whole["headers"]["mn.workflow.attempt_id"] == "s:attempt:1"
        assert (whole["body"], whole["artifacts"], whole["stream"]) == ({"x": [1, "ü"]}, [], None)
        context = json.loads(files["MN_CONTEXT_FILE"])
        assert context["agent_state"] == {"n": 2} and context["workflow"]["idempotency_key"] == "k"
        assert (context["job_id"], context["agent_id"], context["template_type"]) == ("run-1", "a", "generic")

    asyncio.run(scenario())


def test_a_body_of_bytes_reaches_the_body_file_as_it_is(tmp_path: Path) -> None:
    code = """
import json, os
print(json.dumps({"complete_step": {
    "body": list(open(os.environ["MN_BODY_FILE"], "rb").read()), "type": os.environ["MN_BODY_CONTENT_TYPE"],
    "input": json.load(open(os.environ["MN_INPUT_FILE"]))}}))
"""

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(code)))
            meta = {"body_base64": "AP8K", "content_type": "image/png"}

            result = await b.run(message=Message("m", "x", None, meta=meta))

            expected = {"body": [0, 255, 10], "type": "image/png", "input": {"body_base64": "AP8K"}}
            assert result.done == (expected,)

    asyncio.run(scenario())


def test_uploads_are_staged_and_the_working_directory_is_one_of_them(tmp_path: Path) -> None:
    code = "import os\nprint(os.getcwd(), open('deep/x.txt').read(), ','.join(os.listdir('..')), sep='|')"

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(
                node(
                    ["python3.11", "main.py"],
                    upload_path="code",
                    upload_as="app",
                    upload_paths=[{"source": "one.txt"}, {"source": "one.txt", "target": "sub/two.txt"}],
                    workdir="/sandbox/job/app",
                ),
                payloads={"code/main.py": code, "code/deep/x.txt": "X", "one.txt": "1"},
            )

            out = sandbox((await b.run()).output)["stdout"].strip()

            cwd, x, beside = out.split("|")
            assert cwd.endswith("/app") and x == "X"
            assert {"app", "one.txt", "sub", "mirror_neuron_input.json"} <= set(beside.split(","))

    asyncio.run(scenario())


def test_a_list_is_no_shell_and_text_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(
                node(["echo", "$HOME", "{agent_id}", "{job_id}", "{input_file}", "{unknown}"]),
                {"node_id": "s"} | node("echo $MN_AGENT_ID '{agent_id}' | tr a-z A-Z"),
            )

            listed = sandbox((await b.run()).output)["stdout"].split()
            text = sandbox((await b.run(agent="s")).output)["stdout"]

            assert listed[:3] == ["$HOME", "a", "run-1"] and listed[4] == "{unknown}"
            assert listed[3].endswith("/mirror_neuron_input.json")
            assert text == "S {AGENT_ID}\n"

    asyncio.run(scenario())


def test_output_that_is_no_answer_is_data(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(
                node(python("import sys; print('plain'); print('said', file=sys.stderr)")),
                {"node_id": "q"} | node(["true"], output_message_type=None),
            )

            result = await b.run(body={"_mn_step": {"step_id": "s"}})
            quiet = await b.run(agent="q")

            record = sandbox(result.output)
            assert result.output["agent_id"] == "a" and result.output["_mn_step"] == {"step_id": "s"}
            assert (record["stdout"], record["stderr"], record["logs"]) == ("plain\n", "said\n", "said\n")
            assert (record["exit_code"], record["runner"], record["attempts"]) == (0, "host_local", 1)
            assert result.logs == ("said",)
            (emission,) = result.emits
            assert (emission.type, emission.body) == ("executor_result", result.output)
            assert emission.meta["headers"]["schema_ref"] == "com.mirrorneuron.executor.result"
            assert [kind for kind, _ in result.notes] == ["sandbox_job_completed"]
            assert quiet.emits == () and quiet.error is None

    asyncio.run(scenario())


def test_a_structured_answer_says_what_happens_in_order(tmp_path: Path) -> None:
    answer = {
        "events": [
            {"type": "one", "payload": {"x": 1}},
            {"type": "two", "payload": 3},
            "noise",
            {"type": "three"},
        ],
        "emit_messages": [
            {"type": "t1", "body": {"a": 1}},
            {
                "type": "t2",
                "payload": 2,
                "to": "z",
                "class": "command",
                "headers": {"h": "v"},
                "correlation_id": "c",
            },
            {"type": "t3", "body_base64": "AA=="},
        ],
        "next_state": {"seen": 1},
        "complete_step": {"done": True},
        "complete_run": {"ignored": True},
    }

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(
                node(python(f"print({json.dumps(answer)!r})"), output_message_type="mine"),
                {"node_id": "r"}
                | node(python("""print('{"complete_job?": true}')"""), output_message_type=None),
            )

            result = await b.run()
            run = await b.run(agent="r")

            assert [kind for kind, _ in result.notes] == ["sandbox_job_completed", "one", "three"]
            assert result.emits[0].type == "mine"
            assert result.emits[1:] == (
                Emission("t1", {"a": 1}),
                Emission("t2", 2, "z", {"class": "command", "headers": {"h": "v"}, "correlation_id": "c"}),
                Emission("t3", None, "", {"body_base64": "AA=="}),
            )
            assert (result.state, result.done, result.answer) == ({"seen": 1}, ({"done": True},), ())
            assert run.answer == (run.output,) and sandbox(run.output)["exit_code"] == 0

    asyncio.run(scenario())


def test_a_call_of_a_dataflow_comes_to_its_value(tmp_path: Path) -> None:
    code = """
import json, os
given = json.load(open(os.environ["MN_INPUT_FILE"]))
print(json.dumps({"complete_run": sum(given["args"]) + given["kwargs"]["x"]}))
"""

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(
                node(python(code)),
                {"node_id": "null"} | node(["echo", '{"complete_run": null}']),
                {"node_id": "emits"}
                | node(["echo", '{"emit_messages": [{"type": "t", "body": {"args": [7]}}]}']),
                {"node_id": "data"} | node(["echo", "hello"]),
                {"node_id": "other"} | node(["echo", '{"events": []}']),
            )

            assert (await b.run(params={"args": [1, 2], "kwargs": {"x": 3}})).output == 6
            assert (await b.run(agent="null", params={"args": []})).output is None
            assert (await b.run(agent="emits", params={"args": []})).output == 7
            for agent in ("data", "other"):
                result = await b.run(agent=agent, params={"args": []})
                assert result.error is not None and result.error[0] == "worker_output_invalid"

    asyncio.run(scenario())


def test_secrets_are_kept_out_of_logs_and_errors_but_not_out_of_answers(tmp_path: Path) -> None:
    code = """
import json, os, sys
print(os.environ["API_TOKEN"], file=sys.stderr)
print(json.dumps({"complete_step": os.environ["API_TOKEN"]}))
sys.exit(int(os.environ["CODE"]))
"""

    async def scenario() -> None:
        async with box(tmp_path) as b:
            env = {"API_TOKEN": "abcdef123", "SHORT_KEY": "1"}
            b.bundle(
                node(python(code), environment=env | {"CODE": "0"}),
                {"node_id": "f"} | node(python(code), environment=env | {"CODE": "3"}),
            )

            good, bad = await b.run(), await b.run(agent="f")

            assert good.done == ("abcdef123",) and good.logs == ("[redacted]",)
            assert bad.error is not None
            assert bad.error[:2] == ("worker_failed", "the worker exited with code 3: [redacted]")
            assert "abcdef123" not in json.dumps(bad.output) + "".join(bad.logs)

    asyncio.run(scenario())


def failing(b: Box, *nodes: dict[str, Any]) -> None:
    b.bundle(*({"node_id": f"n{number}"} | one for number, one in enumerate(nodes)), payloads={"x": "1"})


def test_what_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    cases = [
        (node(["no-such-program"]), "'no-such-program' cannot be started: No such file or directory"),
        (node(["/dev/null"]), "'/dev/null' cannot be started: Permission denied"),
        (node(["true"], workdir="/nowhere/at/all"), "workdir '/nowhere/at/all' does not exist"),
        (node(["true"], workdir="/sandbox/job/gone"), "/gone' does not exist"),
        (
            node(["true"], upload_path="missing.txt"),
            "upload source 'missing.txt' does not exist in the bundle",
        ),
        (node(["x" * 40_000]), "the command has 40000 characters; at most 32768 are taken"),
        (
            node([" "], upload_paths=[{"source": "x", "target": "mirror_neuron_input.json/y"}]),
            "cannot be prepared",
        ),
    ]

    async def scenario() -> None:
        async with box(tmp_path) as b:
            failing(b, *(one for one, _ in cases))
            for number, (_, text) in enumerate(cases):
                result = await b.run(agent=f"n{number}")
                assert result.error is not None, text
                code, message, retryable = result.error
                assert code == "worker_start_failed" and text in message and not retryable
            result = await b.run(agent="unknown")
            assert result.error is not None and "no executor 'unknown'" in result.error[1]
            result = await b.run(digest="absent")
            assert result.error is not None and "cannot be run" in result.error[1]

    asyncio.run(scenario())


def test_errors_that_go_away_by_themselves_are_known_by_their_text(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            failing(
                b,
                node("echo 'dial: Connection Refused' >&2; exit 1"),
                node("echo 'bad argument' >&2; exit 1"),
                node("echo artifact_not_ready; exit 75"),
            )

            errors = [(await b.run(agent=f"n{number}")).error for number in range(3)]

            assert [error and error[2] for error in errors] == [True, False, True]

    asyncio.run(scenario())


def test_a_worker_with_its_own_interpreter_runs_that(tmp_path: Path) -> None:
    fake = tmp_path / "interpreter"
    fake.write_text("#!/bin/sh\necho mine $@\n")
    fake.chmod(0o755)

    async def scenario() -> None:
        async with box(tmp_path, python=str(fake)) as b:
            failing(b, node(["python3.9", "x.py"]), node(["./python3", "x"]))

            assert sandbox((await b.run(agent="n0")).output)["stdout"] == "mine x.py\n"
            assert (await b.run(agent="n1")).error is not None

    asyncio.run(scenario())
