"""Following jobs and operations.  Source: runtime API, sections 5 and 6."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from headway.api.rpc.mirrorneuron import exchange, following
from headway_wire.mirrorneuron import observability_v1_pb2 as observability
from headway_wire.mirrorneuron import operations_v1_pb2 as operations
from headway_wire.mirrorneuron.calls import OBSERVABILITY_V1, OPERATIONS_V1, RPCS

from packages.engine.tests.rpc.runtime import Served, Tale, outcome
from tests.waiting import until

EVENTS = OBSERVABILITY_V1 + "StreamEvents"
OPERATION = OPERATIONS_V1 + "StreamOperationEvents"


@contextmanager
def stream(served: Served, path: str, request: Any, *, timeout: float | None = 20) -> Iterator[Any]:
    """The open call, which yields parsed events."""
    with grpc.insecure_channel(served.target) as channel:
        call: Any = channel.unary_stream(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=RPCS[path].response.FromString,
        )
        yield call(request, timeout=timeout)


def told(call: Any, most: int | None = None) -> list[dict[str, Any]]:
    responses = list(itertools.islice(call, most))
    assert all(response.version == 1 for response in responses)
    return [json.loads(response.event_json) for response in responses]


def of_job(served: Served, *kinds: str) -> Tale:
    """A job with such a history."""
    tale = served.runtime.jobs["j"] = Tale([{"type": kind, "n": n} for n, kind in enumerate(kinds)])
    return tale


def follow(**fields: Any) -> Any:
    return observability.StreamEventsRequest(job_id="j", follow=True, version=1, **fields)


def test_without_following_the_history_is_told_and_the_stream_ends(listening: Served) -> None:
    of_job(listening, "job_pending", "job_running")

    with stream(listening, EVENTS, observability.StreamEventsRequest(job_id="j", version=1)) as call:
        events = told(call)

    assert events == [
        {"type": "job_pending", "n": 0, "version": 1},
        {"type": "job_running", "n": 1, "version": 1},
    ]


@pytest.mark.parametrize("follows", [True, False])
def test_an_unknown_job_has_no_events_and_is_no_error(listening: Served, follows: bool) -> None:
    request = observability.StreamEventsRequest(job_id="nobody", follow=follows, heartbeat_interval_ms=100)

    with stream(listening, EVENTS, request) as call:
        assert told(call) == []
        assert call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(("limit", "first"), [(2, 3), (100, 0), (0, 0), (-1, 0)])
def test_a_limit_keeps_the_newest_of_the_stored_events(listening: Served, limit: int, first: int) -> None:
    of_job(listening, "a", "b", "c", "d", "job_failed")

    with stream(listening, EVENTS, follow(limit=limit)) as call:
        assert [event["n"] for event in told(call)] == list(range(first, 5))


def test_a_follower_of_a_job_that_has_ended_ends_at_once(listening: Served) -> None:
    of_job(listening, "job_running", "job_completed")

    with stream(listening, EVENTS, follow(heartbeat_interval_ms=100)) as call:
        assert [event["type"] for event in told(call)] == ["job_running", "job_completed"]


@pytest.mark.parametrize("heartbeat_interval_ms", [0, 100])
def test_a_follower_hears_what_happens_and_ends_with_the_job(
    listening: Served, heartbeat_interval_ms: int
) -> None:
    tale = of_job(listening, "job_running")

    with stream(listening, EVENTS, follow(heartbeat_interval_ms=heartbeat_interval_ms)) as call:
        before = told(call, 1)
        listening.tell(tale, {"type": "step", "n": 1})
        listening.tell(tale, {"type": "job_completed", "n": 2})
        after = [event for event in told(call) if event["type"] != "stream_heartbeat"]

    assert [event["n"] for event in before + after] == [0, 1, 2]
    until(lambda: tale.listening == 0, what="the engine has let go of the stream")


def test_nothing_is_lost_or_told_twice_while_history_turns_into_life(listening: Served) -> None:
    tale = of_job(listening, *["step"] * 200)
    heard: list[list[int]] = [[] for _ in range(4)]

    def listen(number: int) -> None:
        with stream(listening, EVENTS, follow(heartbeat_interval_ms=100 * (number % 2))) as call:
            heard[number] = [event["n"] for event in told(call) if event["type"] != "stream_heartbeat"]

    listeners = [threading.Thread(target=listen, args=(number,)) for number in range(4)]
    for listener in listeners:
        listener.start()
    for n in range(200, 400):
        listening.tell(tale, {"type": "step", "n": n})
    listening.tell(tale, {"type": "job_completed", "n": 400})
    for listener in listeners:
        listener.join(20)

    assert heard == [list(range(401))] * 4


def test_a_heartbeat_comes_whenever_nothing_happens_for_so_long(listening: Served) -> None:
    tale = of_job(listening, "job_running")

    with stream(listening, EVENTS, follow(heartbeat_interval_ms=100)) as call:
        events = told(call, 3)
        listening.tell(tale, {"type": "job_completed", "n": 1})
        rest = told(call)

    assert events[0]["n"] == 0
    beat = {
        "type": "stream_heartbeat",
        "job_id": "j",
        "timestamp": "2026-04-01T10:00:00.123Z",
        "version": 1,
    }
    assert events[1:] == [beat, beat]
    assert rest[-1]["type"] == "job_completed"
    assert all(event["type"] != "stream_heartbeat" for event in tale.told), "heartbeats are not stored"


def test_no_client_makes_the_engine_write_heartbeats_without_a_pause(
    listening: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_MS_MIN", 60_000)
    tale = of_job(listening, "job_running")

    with stream(listening, EVENTS, follow(heartbeat_interval_ms=1)) as call:
        told(call, 1)
        listening.tell(tale, {"type": "job_completed", "n": 1})
        assert [event["type"] for event in told(call)] == ["job_completed"]


@pytest.mark.parametrize("heartbeat_interval_ms", [0, 100, 60_000])
@pytest.mark.parametrize("ending", ["cancel", "disconnect", "deadline"])
def test_a_follower_that_goes_away_frees_everything(
    listening: Served, ending: str, heartbeat_interval_ms: int
) -> None:
    tale = of_job(listening, "job_running")
    timeout = 0.5 if ending == "deadline" else None

    with stream(
        listening, EVENTS, follow(heartbeat_interval_ms=heartbeat_interval_ms), timeout=timeout
    ) as call:
        told(call, 1)
        assert tale.listening == 1
        if ending == "cancel":
            call.cancel()
        if ending == "deadline":
            with pytest.raises(grpc.RpcError):
                told(call)

    until(lambda: tale.listening == 0, what="the engine has let go of the stream")


def test_there_is_a_limit_to_the_streams_that_stay_open(listening: Served) -> None:
    tale = of_job(listening, "job_running")
    request = follow().SerializeToString()
    with _followers(listening, 1_000) as calls:
        status, text = outcome(listening.target, EVENTS, request)
        assert status == "RESOURCE_EXHAUSTED"
        assert text.startswith("1000 event streams are open")
        with stream(listening, EVENTS, observability.StreamEventsRequest(job_id="j")) as call:
            assert len(told(call)) == 1, "who does not follow is served"
        calls[0].cancel()
        until(lambda: tale.listening == 999)
        calls.append(_follower(calls.channel))
        assert told(calls[-1], 1)
    until(lambda: tale.listening == 0)


def test_a_follower_that_reads_nothing_is_let_go(listening: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "UNREAD_S_MAX", 0.2)
    tale = of_job(listening, *["step"] * 10)
    for event in tale.told:
        event["text"] = "x" * (1 << 20)

    with stream(listening, EVENTS, follow()) as call:
        until(lambda: tale.listening == 1)
        until(lambda: tale.listening == 0, what="the engine has let go of the stream")
        with pytest.raises(grpc.RpcError) as failed:
            told(call)

    error: Any = failed.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_operation_is_followed_from_where_its_reader_was(listening: Served) -> None:
    tale = listening.runtime.operations["o"] = Tale(
        [{"type": "item_started", "sequence": n} for n in (1, 2, 3)]
    )
    request = operations.StreamOperationEventsRequest(
        operation_id="o", after_sequence=2, follow=True, heartbeat_interval_ms=100, version=1
    )

    with stream(listening, OPERATION, request) as call:
        assert told(call, 1)[0]["sequence"] == 3
        assert told(call, 1)[0]["operation_id"] == "o"
        listening.tell(tale, {"type": "operation_completed", "sequence": 4})
        rest = [event for event in told(call) if event["type"] != "stream_heartbeat"]

    assert [event["sequence"] for event in rest] == [4]
    until(lambda: tale.listening == 0)


def test_an_unknown_operation_is_not_found(listening: Served) -> None:
    assert outcome(listening.target, OPERATION)[0] == "NOT_FOUND"


class _Calls(list[Any]):
    """Open streams, and the channel that they share."""

    channel: grpc.Channel


def _follower(channel: grpc.Channel) -> Any:
    call: Callable[..., Any] = channel.unary_stream(
        EVENTS,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=observability.EventResponse.FromString,
    )
    return call(follow(), timeout=None)


@contextmanager
def _followers(served: Served, count: int) -> Iterator[_Calls]:
    with grpc.insecure_channel(served.target) as channel:
        calls = _Calls(_follower(channel) for _ in range(count))
        calls.channel = channel
        until(lambda: served.runtime.jobs["j"].listening == count, within_s=30)
        yield calls
