"""The pure parts of workers, held to what must be true of any input."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from headway.core.events import Call, Message
from headway.ports import Delivery, Result
from headway.workers.answer import (
    CONTROL_KEYS,
    NESTING_MAX,
    Place,
    is_transient,
    redacted,
    result_of,
    structured,
)
from headway.workers.capture import Capture
from headway.workers.command import command_line
from headway.workers.environment import environment, facts, inherited, is_secret, passed, secrets_of
from headway.workers.errand import BODY_FILE, CONTEXT_FILE, INPUT_FILE, MESSAGE_FILE, Errand, moment
from headway.workers.frames import FRAME_BYTES_MAX, HEAD, BadFrame, Frames, frame
from headway.workers.keeper import Ended
from headway.workers.staging import CannotStage, workdir
from headway_wire.manifest import Executor, Node
from hypothesis import given
from hypothesis import strategies as st

PREFIX = b"__B__"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
LINES = st.lists(
    st.sampled_from([b"a", b"__B__", b"__B", b"__B__{}", b"x" * 30, b"\n", b"", b"_"]), max_size=30
)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    """`content` in pieces."""
    marks = sorted({place % (len(content) + 1) for place in places} | {0, len(content)})
    return [content[start:end] for start, end in pairwise(marks)]


def errand(
    message: Message | None = None,
    *,
    node: dict[str, Any] | None = None,
    executor: Executor | None = None,
    **given: Any,
) -> Errand:
    work = executor or Executor(command=("x",))
    call = Call("@bundle:d", "a", given.pop("params", {}))
    delivery = Delivery("r/a/1/1", "t", "r", "a", 1, 1, call, "", "", 0, message=message, **given)
    return Errand(delivery, Node("a", "executor", work, **(node or {})), work, 1_700_000_000_123)


# What arrives in pieces ---------------------------------------------------------------------------


@given(LINES, st.lists(st.integers(0, 1_000)), st.integers(0, 60))
def test_what_is_kept_does_not_depend_on_how_it_arrives(
    lines: list[bytes], places: list[int], limit: int
) -> None:
    content = b"".join(lines)
    whole, pieces = Capture(limit, PREFIX), Capture(limit, PREFIX)
    beacons = whole.feed(content) + whole.end()

    seen = [beacon for piece in cut(content, places) for beacon in pieces.feed(piece)] + pieces.end()

    assert (seen, pieces.kept, pieces.dropped) == (beacons, whole.kept, whole.dropped)
    wanted = b"".join(line for line in content.splitlines(keepends=True) if not line.startswith(PREFIX))
    assert whole.kept == wanted[:limit] and whole.dropped == len(wanted) - len(whole.kept)
    told = [line[len(PREFIX) :].strip() for line in content.splitlines() if line.startswith(PREFIX)]
    assert beacons == told


@given(st.binary(max_size=200), st.integers(0, 100))
def test_without_a_prefix_the_beginning_is_kept(content: bytes, limit: int) -> None:
    capture = Capture(limit)

    assert capture.feed(content) == []
    assert capture.kept == content[:limit] and capture.cut == (len(content) > limit)


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=8),
    st.lists(st.integers(0, 1_000)),
)
def test_frames_do_not_depend_on_how_they_arrive(sent: list[tuple[int, bytes]], places: list[int]) -> None:
    stream = b"".join(frame(kind, content) for kind, content in sent)
    frames = Frames()

    assert [one for piece in cut(stream, places) for one in frames.feed(piece)] == sent


def test_a_frame_that_is_too_long_is_refused_before_it_comes() -> None:
    with pytest.raises(BadFrame):
        list(Frames().feed(HEAD.pack(FRAME_BYTES_MAX + 1, 1)))


# Commands and folders -----------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1, max_size=5))
def test_items_without_placeholders_are_passed_as_they_are(items: list[str]) -> None:
    whole = ["/bin/x", *(item.replace("{", "(") for item in items)]

    assert command_line(whole, {}, python="py", chars_max=10_000) == whole


@pytest.mark.parametrize(
    ("first", "runs"),
    [
        ("python", "py"), ("python3", "py"), ("python3.14", "py"), ("python2",) * 2,
        ("/usr/bin/python3",) * 2, ("python3.11-dbg",) * 2, ("python3.",) * 2, ("Python",) * 2,
    ],
)  # fmt: skip
def test_an_interpreter_without_a_path_is_the_servers(first: str, runs: str) -> None:
    assert command_line([first, "python3"], {}, python="py", chars_max=100) == [runs, "python3"]


@pytest.mark.parametrize("command", [[], "", "  ", [""], ["a\0b"], ["x" * 101], "y" * 100])
def test_a_command_that_cannot_run_is_refused(command: Any) -> None:
    with pytest.raises(CannotStage):
        command_line(command, {}, python="py", chars_max=100)


@given(st.text(st.sampled_from("./ax")))
def test_a_relative_working_directory_never_leaves_its_base(wanted: str) -> None:
    for given_path in (wanted.lstrip("/"), f"/sandbox/job/{wanted.lstrip('/')}"):
        try:
            found = workdir(given_path, "/tmp/base")
        except CannotStage:
            continue
        assert Path(found) == Path("/tmp/base") or Path("/tmp/base") in Path(found).parents
        assert ".." not in Path(found).parts


def test_working_directories_by_their_names() -> None:
    base = "/tmp/base"

    assert [workdir(w, base) for w in ("", "/sandbox/job", "/sandbox/job/")] == [base] * 3
    assert workdir("/sandbox/job/x/y", base) == "/tmp/base/x/y"
    assert workdir("/opt/tool", base) == "/opt/tool"
    assert workdir("/opt/box", base, root="/opt/box/") == base


# The environment ----------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "PATH",
        "HOME",
        "SHELL",
        "MN_X",
        "MN_GRPC_AUTH_TOKEN",
        "LC_ALL",
        "AWS_SECRET",
        "MN_JOB_ID",
        "MIRASTACK_X",
        "Y",
    ]
)
VARIABLES = st.dictionaries(NAMES, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12))


@given(VARIABLES, VARIABLES, st.lists(NAMES))
def test_later_rows_win_and_credentials_stay(
    server: dict[str, str], own: dict[str, str], asked: list[str]
) -> None:
    work = Executor(command=("x",), environment=own, pass_env=tuple(asked))
    one = errand(Message("m", "t"), executor=work)

    env = environment(one, facts(one, base="/b", workdir="/b"), server=server, row_1=inherited(server))

    assert env.items() >= passed(asked, server).items()
    assert (
        env.items()
        >= {name: value for name, value in own.items() if name not in passed(asked, server)}.items()
    )
    for name in env.keys() - own.keys() - passed(asked, server).keys():
        assert not is_secret(name) and name not in ("SHELL", "Y") and not name.startswith("MIRASTACK_")
    assert not any(name.startswith(("MIRASTACK_", "MN_GRPC_AUTH_TOKEN")) for name in passed(asked, server))


@given(st.lists(st.text(min_size=6), max_size=4), st.text())
def test_nothing_is_left_of_a_secret(values: list[str], text: str) -> None:
    secrets = secrets_of({f"A_TOKEN_{number}": value for number, value in enumerate(values)})
    whole = text.join(["", *values, ""])

    told = redacted(whole, secrets).replace("[redacted]", "\0")

    assert not any(value in told for value in values if value not in "[redacted]")


def test_short_values_and_other_names_are_no_secrets() -> None:
    assert secrets_of({"KEY": "12345", "NAME": "123456", "My_Password": "123456"}) == ("123456",)


# The files ----------------------------------------------------------------------------------------


@given(JSON, JSON)
def test_the_files_hold_the_message(body: Any, memory: Any) -> None:
    files = errand(Message("m", "t", body), memory=memory).files

    assert json.loads(files[INPUT_FILE]) == json.loads(files[BODY_FILE]) == body
    whole = json.loads(files[MESSAGE_FILE])
    assert whole["body"] == body and None not in whole["envelope"].values()
    assert json.loads(files[CONTEXT_FILE])["agent_state"] == ({} if memory is None else memory)


def test_what_the_ledger_says_travels_in_headers_context_and_environment() -> None:
    ledger = {"run_id": "r", "step_id": "s", "attempt": 2, "heartbeat_deadline_ms": 1_000, "region_id": "g"}
    one = errand(Message("m", "t", meta={"headers": {"mn.workflow.source_step_id": "p"}}), ledger=ledger)

    headers = json.loads(one.files[MESSAGE_FILE])["headers"]
    workflow = json.loads(one.files[CONTEXT_FILE])["workflow"]

    at = "1970-01-01T00:00:01.000Z"
    assert headers == {
        "mn.workflow.source_step_id": "p", "mn.workflow.run_id": "r", "mn.workflow.step_id": "s",
        "mn.workflow.attempt": 2, "mn.workflow.heartbeat_deadline_at": at, "mn.workflow.region_id": "g",
    }  # fmt: skip
    assert workflow == {"run_id": "r", "step_id": "s", "attempt": 2, "heartbeat_deadline_at": at}


def test_moments_are_in_utc() -> None:
    assert moment(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


# Answers ------------------------------------------------------------------------------------------


def told(one: Errand, stdout: bytes | str, **ended: Any) -> Result:
    raw = stdout if isinstance(stdout, bytes) else stdout.encode()
    return result_of(one, Ended(stdout=raw, **ended), Place("/b/1", {}, "here"))


@given(st.binary(max_size=60))
def test_any_output_of_a_worker_that_succeeds_is_some_result(stdout: bytes) -> None:
    result = told(errand(Message("m", "t")), stdout)

    assert result.error is None or result.error[0] == "worker_output_invalid"


@given(st.dictionaries(st.sampled_from([*sorted(CONTROL_KEYS), "x"]), JSON, max_size=5))
def test_an_answer_is_structured_only_by_its_control_keys(answer: dict[str, Any]) -> None:
    found, value = structured(f"  {json.dumps(answer)}\n".encode())

    assert value == answer and (found == answer if CONTROL_KEYS & answer.keys() else found is None)
    assert structured(json.dumps([answer]).encode()) == (None, None)
    assert structured(json.dumps(answer).encode() + b"{}")[0] is None


@given(st.dictionaries(st.sampled_from(sorted(CONTROL_KEYS)), JSON, min_size=1, max_size=4))
def test_any_answer_is_taken_or_refused_in_words(answer: dict[str, Any]) -> None:
    one = errand(Message("m", "t"), node={"output_message_type": "mine"})
    result = told(one, json.dumps(answer))

    if result.error is not None:
        assert result.error[0] == "worker_output_invalid" and "emit_messages" in result.error[1]
        return
    assert result.emits[0].type == "mine" and result.state == answer.get("next_state")
    assert not (result.done and result.answer)
    given = answer.get("complete_step")
    assert bool(result.done) == (given is not None and given is not False)


@pytest.mark.parametrize(
    "kind", ["job_completed", "job_failed", "approval_decided", "service_agent_completed"]
)
def test_a_worker_does_not_speak_for_the_runtime(kind: str) -> None:
    events = [{"type": kind, "payload": {"by": "admin"}}, {"type": "mine", "payload": {}}]

    result = told(errand(Message("m", "t")), json.dumps({"events": events}))

    kinds = [name for name, _ in result.notes]
    assert kinds == ["sandbox_job_completed", "worker_event_refused", "mine"]
    assert result.notes[1][1] == {"type": kind}


@pytest.mark.parametrize("key", ["complete_run", "next_state", "emit_messages"])
def test_an_answer_that_nobody_could_walk_is_refused(key: str) -> None:
    deep: Any = 0
    for _ in range(NESTING_MAX):
        deep = [deep]
    answer = {key: [{"type": "t", "body": deep}] if key == "emit_messages" else deep}

    result = told(errand(Message("m", "t")), json.dumps(answer))

    assert result.error is not None and "nested more than 100 levels" in result.error[1]
    flat: dict[str, Any] = {
        key: [{"type": "t", "body": [[]] * 500}] if key == "emit_messages" else [[]] * 500
    }
    assert told(errand(Message("m", "t")), json.dumps(flat)).error is None
    data = told(errand(Message("m", "t")), json.dumps({"outputs": deep}))
    assert data.error is None, "what is no answer is data"


def test_a_step_result_of_the_sdk_is_the_payload() -> None:
    step = {"outputs": {"a": 1}, "artifacts": [], "metrics": {}, "status": "done", "extra": 2}
    one = errand(Message("m", "t", {"_mn_step": {"step_input": 3}}), node={"output_message_type": "mine"})

    plain, completing = told(one, json.dumps(step)), told(one, json.dumps(step | {"complete_step": True}))

    payload = step | {"agent_id": "a", "_mn_step": {"step_input": 3}}
    assert plain.output == plain.emits[0].body == payload and plain.done == ()
    assert completing.done == (payload,)


def test_the_default_payload_is_made_only_where_something_asks_for_it() -> None:
    answer = '{"emit_messages": []}'

    assert told(errand(Message("m", "t")), answer).output is None
    assert told(errand(Message("m", "t"), ledger={"run_id": "r"}), answer).output["agent_id"] == "a"
    assert told(errand(Message("m", "t"), node={"terminal_sink": True, "complete_run": True}), answer).output


@pytest.mark.parametrize(
    ("ended", "error"),
    [
        ({"exit_code": 2}, ("worker_failed", "the worker exited with code 2: last", False)),
        ({"exit_code": 137}, ("worker_failed", "the worker was ended by signal 9: last", False)),
        ({"exit_code": 143, "timed_out": True}, ("worker_timeout", "host local command timed out", True)),
        ({"failed": "no such thing"}, ("worker_start_failed", "no such thing", False)),
    ],
)
def test_how_a_worker_ended_is_its_error(ended: dict[str, Any], error: tuple[str, str, bool]) -> None:
    result = told(errand(Message("m", "t")), "first\n last \n\n", **ended)

    assert result.error == error and result.output["sandbox"]["exit_code"] == ended.get("exit_code", 0)


def test_texts_that_pass_are_found_in_any_case_and_place() -> None:
    assert is_transient("x", "a PEER closed Connection b") and is_transient("Deadline Exceeded")
    assert not is_transient("broken", "", "timed  out")
