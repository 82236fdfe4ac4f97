"""Live streams: what happened, what happens, and an end."""

from __future__ import annotations

from typing import Any

from packages.engine.tests.rest.boxes import Box, Stream
from packages.engine.tests.rest.test_executions import GREET


def events_of(entries: list[tuple[str, str, Any]]) -> list[str]:
    return [item["event"] for event, _, data in entries if event == "entry" for item in data["items"]]


def test_a_stream_tells_the_whole_execution_and_ends_by_itself(durable_box: Box) -> None:
    box = durable_box
    box.store_runbook(GREET)
    id = box.start("greet", {"text": "x"})
    approval = box.pending(id)

    with box.stream(f"/executions/{id}/events", who="operator") as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        seen = []
        for event in stream:
            seen.append(event)
            if "gated" in events_of([event]):
                box.call("POST", f"/approvals/{approval['id']}:approve")

    told = events_of(seen)
    assert told[0] == "submitted"
    assert told[-1] == "finished"
    assert [word for word in told if word in ("gated", "decided")] == ["gated", "decided"]
    assert seen[-1] == ("end", "", {"status": "succeeded"})
    ids = [int(id) for event, id, _ in seen if event == "entry"]
    assert ids == sorted(set(ids))


def test_a_stream_goes_on_behind_the_last_entry_that_was_seen(box: Box) -> None:
    id = box.call("POST", "/agents/kit/actions/look:invoke", {}).json["id"]
    box.finished(id)
    with box.stream(f"/executions/{id}/events") as stream:
        whole = list(stream)
    entries = [event for event in whole if event[0] == "entry"]

    with box.stream(f"/executions/{id}/events", headers={"Last-Event-ID": entries[0][1]}) as stream:
        rest = list(stream)
    with box.stream(f"/executions/{id}/events?after={entries[-1][1]}") as stream:
        nothing = list(stream)

    assert rest == whole[1:]
    assert nothing == [("end", "", {"status": "succeeded"})]


def test_logs_are_the_same_entries_in_pages(box: Box) -> None:
    box.store_runbook(GREET)
    id = box.start("greet", {"text": "x"})
    box.call("POST", f"/approvals/{box.pending(id)['id']}:approve")
    box.finished(id)
    with box.stream(f"/executions/{id}/events") as stream:
        told = [data for event, _, data in stream if event == "entry"]

    pages: list[Any] = []
    path = f"/executions/{id}/logs?limit=2"
    while path:
        page = box.get(path)
        pages += page["items"]
        path = f"/executions/{id}/logs?limit=2&cursor={page['next']}" if page["next"] else ""

    assert pages == told


def test_approvals_are_streamed_when_they_are_requested_and_decided(box: Box) -> None:
    box.store_runbook(GREET)
    first = box.pending(box.start("greet", {"text": "x"}))
    with box.stream("/approvals/events", who="engineer") as stream:
        told = iter(stream)
        assert next(told)[2] == {**first, "may_decide": True}

        second = box.pending(box.start("greet", {"text": "y"}))
        assert next(told)[2]["id"] == second["id"]

        box.call("POST", f"/approvals/{first['id']}:reject")
        event, _, data = next(told)
        assert (event, data["id"], data["status"]) == ("approval", first["id"], "rejected")


def test_a_stream_of_something_that_does_not_exist_is_an_ordinary_refusal(box: Box) -> None:
    answer = box.call("GET", "/executions/run-nope/events")
    wrong = box.call("GET", "/executions/run-nope/events", headers={"Last-Event-ID": "x"})

    assert (answer.status, answer.json["error"]["kind"]) == (404, "not_found")
    assert (wrong.status, wrong.code) == (400, "wrong_query")


def test_a_stream_ends_with_its_access_token(box: Box) -> None:
    id = box.call("POST", "/agents/kit/actions/wait:invoke", {}).json["id"]
    with box.stream(f"/executions/{id}/events") as stream:
        told = iter(stream)
        assert next(told)[0] == "entry"
        box.clock.ahead_ms += 16 * 60_000
        box.call("POST", f"/executions/{id}:pause", who="fresh-admin")

        rest = list(told)

    assert rest[-1][0] == "error"
    assert rest[-1][2]["error"]["code"] == "token_invalid"


def test_streams_are_bounded_and_a_closed_one_makes_room(box: Box) -> None:
    id = box.call("POST", "/agents/kit/actions/wait:invoke", {}).json["id"]
    streams: list[Stream] = []
    path = f"/executions/{id}/events"
    while len(streams) < 200:
        streams.append(box.stream(path))
        assert streams[-1].response.status == 200

    full = box.call("GET", path)
    assert (full.status, full.code) == (429, "too_many_streams")
    assert int(full.headers["retry-after"]) > 0
    for stream in streams:
        stream.__exit__()

    def room() -> bool:
        with box.stream(path) as stream:
            return stream.response.status == 200

    box.until(room, "a stream that may be opened again")


def test_stopping_the_engine_ends_open_streams(box: Box) -> None:
    id = box.call("POST", "/agents/kit/actions/wait:invoke", {}).json["id"]
    with box.stream(f"/executions/{id}/events") as stream:
        told = iter(stream)
        next(told)
        box.asks(box.stop())

        rest = list(told)

    assert "end" not in [event for event, _, _ in rest]
