"""Frames of the stream link survive the trip, and the outbox batches without delay or loss."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from headway_wire import link
from headway_wire.errors import Invalid
from hypothesis import given
from hypothesis import strategies as st


def test_a_plugin_frame_survives_the_trip() -> None:
    frame = link.PluginFrame(
        hello=link.Hello(
            name="a", running=["1"], finished=[link.Result(id="2", ok=True, output={"x": [1.5]})]
        ),
        results=[link.Result(id="3", error=link.Failure(code="c", message="m", retryable=True), logs=["l"])],
        beats=["4"],
        probed=[link.Probed(id="5", verdict="running")],
    )

    assert link.decode_plugin_frame(link.encode(frame)) == frame


def test_an_engine_frame_survives_the_trip() -> None:
    frame = link.EngineFrame(
        welcome=link.Welcome(instance_id="i", heartbeat_ms=1000),
        calls=[link.Call(id="1", params={"n": 1}, grant={"id": "g"}, time_range=link.Span(start_epoch_ms=1))],
        stop=["2"],
        probe=["3"],
        acked=["4"],
        config=link.Config(values={"a": "b"}, version=2),
    )

    assert link.decode_engine_frame(link.encode(frame)) == frame


def test_unknown_fields_are_ignored_and_defaults_are_not_sent() -> None:
    assert link.decode_engine_frame(b'{"news":1,"calls":[{"id":"1","more":{}}]}') == link.EngineFrame(
        calls=[link.Call(id="1")]
    )
    assert link.encode(link.PluginFrame()) == b"{}"


@given(st.binary(max_size=64) | st.just(b'{"calls":[{}]}') | st.just(b'{"calls":{}}'))
def test_a_malformed_frame_is_refused(body: bytes) -> None:
    try:
        link.decode_engine_frame(body)
    except Invalid as error:
        assert error.code == "malformed_frame"


@given(st.lists(st.tuples(st.sampled_from(["results", "beats"]), st.integers(0, 3000)), max_size=60))
def test_everything_put_into_the_outbox_comes_out_once_and_in_order(items: list[tuple[str, int]]) -> None:
    async def scenario() -> tuple[list[str], list[str]]:
        outbox = link.Outbox()
        for position, (field, size) in enumerate(items):
            value = f"{position}:" + "x" * size
            outbox.put(field, link.Result(id=value) if field == "results" else value)
        outbox.close()
        results: list[str] = []
        beats: list[str] = []
        while (body := await outbox.take()) is not None:
            frame = link.decode_plugin_frame(body)
            results += [result.id for result in frame.results]
            beats += frame.beats
        return results, beats

    results, beats = asyncio.run(scenario())

    assert [value.split(":")[0] for value in results] == [
        str(n) for n, item in enumerate(items) if item[0] == "results"
    ]
    assert [value.split(":")[0] for value in beats] == [
        str(n) for n, item in enumerate(items) if item[0] == "beats"
    ]


def test_what_is_ready_leaves_in_one_message() -> None:
    async def scenario() -> link.EngineFrame:
        outbox = link.Outbox()
        for number in range(100):
            outbox.put("calls", link.Call(id=str(number)))
        outbox.put("stop", "7")
        body = await outbox.take()
        assert body is not None
        assert outbox.waiting_bytes == 0
        return link.decode_engine_frame(body)

    frame = asyncio.run(scenario())

    assert len(frame.calls) == 100
    assert frame.stop == ["7"]


def test_messages_stay_below_their_aim_unless_one_item_alone_is_larger() -> None:
    async def scenario() -> list[int]:
        outbox = link.Outbox()
        for size in (3 * 1024 * 1024, 3 * 1024 * 1024, 6 * 1024 * 1024, 10):
            outbox.put("results", link.Result(id="r", output="x" * size))
        outbox.close()
        sizes = []
        while (body := await outbox.take()) is not None:
            sizes.append(len(link.decode_plugin_frame(body).results))
        return sizes

    assert asyncio.run(scenario()) == [1, 1, 1, 1]


def test_a_writer_waits_while_the_outbox_is_full() -> None:
    async def scenario() -> None:
        outbox = link.Outbox()
        await outbox.room()
        for _ in range(17):
            outbox.put("results", link.Result(id="r", output="x" * 4_000_000))
        waiting = asyncio.create_task(outbox.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        while outbox.waiting_bytes:
            outbox.take_now()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


def test_an_item_without_json_form_or_beyond_the_limit_is_refused_when_it_is_put() -> None:
    async def scenario() -> None:
        outbox = link.Outbox()
        with pytest.raises(Invalid, match="no JSON form"):
            outbox.put("results", link.Result(id="r", output=object()))
        with pytest.raises(Invalid) as refusal:
            outbox.put("results", msgspec.Raw(b'"' + b"x" * (64 * 1024 * 1024) + b'"'))
        assert refusal.value.code == "message_too_large"
        assert outbox.waiting_bytes == 0

    asyncio.run(scenario())
