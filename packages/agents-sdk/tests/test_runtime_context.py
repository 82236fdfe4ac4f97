"""Every call to the engine, in the three spellings that authors use, on the wire as the protocol says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from headway_wire import messages
from headway_wire.channel import Channel
from headway_wire.errors import Invalid, Refused, Unavailable
from mirastack_sdk.calls import BlastRadius, TimeRange
from mirastack_sdk.context import EngineContext
from mirastack_sdk.enums import Permission
from mirastack_sdk.runtime.current import Current, current

TENANT = "t-1"
Answers = dict[str, Any]


class Recorded:
    """An engine's end without a socket: answers by method, and what was asked."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.metadata: list[dict[str, str]] = []

    async def unary(
        self, path: str, body: bytes, *, timeout_s: float | None = None, metadata: Any = None
    ) -> bytes:
        method = path.rpartition("/")[2]
        self.asked.append((method, json.loads(body)))
        self.metadata.append(dict(metadata or {}))
        answer = self.answers.get(method, {})
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer).encode()

    @property
    def last(self) -> dict[str, Any]:
        return self.asked[-1][1]


def a_context(**answers: Any) -> tuple[EngineContext, Recorded]:
    recorded = Recorded(answers)
    return EngineContext(recorded, plugin_name="sample", tenant_id=TENANT), recorded


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 10))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CTX = object()


def test_configuration_is_read_in_all_spellings_with_one_question() -> None:
    async def scenario() -> None:
        engine, recorded = a_context(
            GetConfig={"config": {"backend.url": "http://b", "limit": "5"}, "version": 1}
        )

        assert await engine.get_config() == {"backend.url": "http://b", "limit": "5"}
        assert await engine.get_config(None) == {"backend.url": "http://b", "limit": "5"}
        assert await engine.get_config(["limit", "other"]) == {"limit": "5"}
        assert await engine.get_config("backend.url") == "http://b"
        assert await engine.get_config("other") is None
        assert await engine.get_config(CTX, "limit") == "5"  # type: ignore[call-overload]
        assert await engine.get_config(CTX, ["limit"]) == {"limit": "5"}  # type: ignore[call-overload]
        assert recorded.asked == [("GetConfig", {"plugin_name": "sample", "tenant_id": TENANT})]

    run(scenario)


def test_configuration_that_comes_as_text_is_taken() -> None:
    async def scenario() -> None:
        engine, _ = a_context(GetConfig={"config": None, "config_json": '{"limit": 5}'})

        assert await engine.get_config() == {"limit": "5"}

    run(scenario)


def test_configuration_is_asked_for_again_when_old_or_dropped() -> None:
    async def scenario() -> None:
        now = [100.0]
        recorded = Recorded({"GetConfig": [{"config": {"v": str(n)}} for n in (1, 2, 3)]})
        engine = EngineContext(
            recorded, plugin_name="s", tenant_id="t", config_ttl_s=15, clock_s=lambda: now[0]
        )

        first = await asyncio.gather(*(engine.get_config("v") for _ in range(5)))
        now[0] = 114.9
        still = await engine.get_config("v")
        now[0] = 115.0
        old = await engine.get_config("v")
        engine.drop_config()
        dropped = await engine.get_config("v")

        assert (first, still, old, dropped) == (["1"] * 5, "1", "2", "3")

    run(scenario)


def test_the_cache_answers_text_or_none() -> None:
    async def scenario() -> None:
        engine, recorded = a_context(
            CacheGet=[
                {"found": True, "value": b64("v")},
                {"found": False, "value": None},
                {"found": True, "value": ""},
                {"found": True, "value": b64("é")},
            ],
            CacheGetBatch={
                "entries": [{"key": "a", "value": b64("1"), "found": True}, {"key": "b", "value": None}]
            },
        )

        assert await engine.cache_get("k") == "v"
        assert await engine.cache_get("k") is None
        assert await engine.cache_get("k") == ""
        assert await engine.cache_get(CTX, "k") == "é"  # type: ignore[call-arg, arg-type]
        assert recorded.last == {"key": "k", "tenant_id": TENANT}
        assert await engine.cache_get_batch(["a", "b"]) == [
            {"key": "a", "value": "1", "found": True},
            {"key": "b", "value": None, "found": False},
        ]

    run(scenario)


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(None, 0), (300, 300), (timedelta(minutes=5), 300), (timedelta(milliseconds=10), 1), (1.2, 2), (0, 0)],
)
def test_a_time_to_live_is_whole_seconds_and_never_becomes_for_ever(ttl: Any, seconds: int) -> None:
    async def scenario() -> None:
        engine, recorded = a_context()

        await engine.cache_set("k", "v", ttl)
        assert recorded.last == {"key": "k", "value": b64("v"), "ttl_seconds": seconds, "tenant_id": TENANT}
        await engine.cache_set(CTX, "k", "v", ttl=ttl)  # type: ignore[arg-type, misc]
        assert recorded.last["ttl_seconds"] == seconds

    run(scenario)


def test_foreign_bytes_survive_the_way_through_an_agent() -> None:
    async def scenario() -> None:
        raw = bytes(range(256))
        engine, recorded = a_context(CacheGet={"found": True, "value": base64.b64encode(raw).decode()})

        text = await engine.cache_get("k")
        assert text is not None
        await engine.cache_set("k", text)
        assert base64.b64decode(recorded.last["value"]) == raw

    run(scenario)


@pytest.mark.parametrize(
    ("args", "named", "execution_id"),
    [
        (("run-1", {"a": 1}), {}, "run-1"),
        (({"a": 1},), {}, "run-9"),
        (('{"a": 1}',), {}, "run-9"),
        ((CTX, {"a": 1}), {}, "run-9"),
        ((CTX, "run-1", {"a": 1}), {}, "run-1"),
        ((), {"execution_id": "run-1", "output": {"a": 1}}, "run-1"),
        ((), {"output": {"a": 1}}, "run-9"),
    ],
)
def test_an_intermediate_result_is_published(args: Any, named: dict[str, Any], execution_id: str) -> None:
    async def scenario() -> None:
        engine, recorded = a_context()
        current.set(Current("run-9", "s", "a"))

        await engine.publish_result(*args, **named)

        assert recorded.last == {
            "execution_id": execution_id,
            "step_id": "",
            "result_json": base64.b64encode(b'{"a":1}').decode(),
            "success": True,
            "error": "",
            "tenant_id": TENANT,
        }

    run(scenario)


@pytest.mark.parametrize(
    ("args", "named", "execution_id", "permission"),
    [
        (("run-1", "Proceed?", Permission.ADMIN), {}, "run-1", 3),
        (("Proceed?", Permission.MODIFY), {}, "run-9", 2),
        (("Proceed?", "admin"), {}, "run-9", 3),
        ((CTX, "Proceed?", Permission.MODIFY), {}, "run-9", 2),
        (("Proceed?",), {"permission": Permission.MODIFY}, "run-9", 2),
        ((), {"execution_id": "run-1", "reason": "Proceed?", "permission": 1}, "run-1", 2),
    ],
)
def test_a_person_is_asked(args: Any, named: dict[str, Any], execution_id: str, permission: int) -> None:
    async def scenario() -> None:
        engine, recorded = a_context(RequestApproval={"approved": True})
        current.set(Current("run-9", "s", "a"))

        assert await engine.request_approval(*args, **named) is True

        assert recorded.last["execution_id"] == execution_id
        assert recorded.last["description"] == "Proceed?"
        assert recorded.last["required_permission"] == permission
        assert recorded.last["step_id"] == "s"
        assert recorded.last["timeout_seconds"] == 0

    run(scenario)


def test_a_request_for_approval_tells_its_context_and_blast_radius() -> None:
    async def scenario() -> None:
        engine, recorded = a_context(RequestApproval={"approved": False, "timed_out": True})

        approved = await engine.request_approval(
            "Proceed?",
            Permission.MODIFY,
            context={"why": "disk"},
            blast_radius=BlastRadius(resource_type="pod", resources=["a"], estimated_count=1),
            timeout=60,
        )

        assert approved is False
        assert recorded.last["context_json"] == base64.b64encode(b'{"why":"disk"}').decode()
        assert recorded.last["blast_radius"]["resources"] == ["a"]
        assert recorded.last["timeout_seconds"] == 60

    run(scenario)


def test_a_request_for_approval_outlives_its_connection_under_one_id() -> None:
    async def scenario() -> None:
        waits: list[float] = []

        async def no_wait(seconds: float) -> None:
            waits.append(seconds)

        recorded = Recorded(
            {"RequestApproval": [Unavailable("gone"), Unavailable("gone"), {"approved": True}]}
        )
        engine = EngineContext(recorded, plugin_name="s", tenant_id="t", sleep=no_wait)

        assert await engine.request_approval("Proceed?", Permission.MODIFY)
        assert waits == [1.0, 2.0]
        assert len({metadata["x-headway-request-id"] for metadata in recorded.metadata}) == 1

    run(scenario)


def test_a_refused_request_for_approval_is_not_repeated() -> None:
    async def scenario() -> None:
        engine, recorded = a_context(RequestApproval=Invalid("READ needs no approval"))

        with pytest.raises(Invalid):
            await engine.request_approval("Proceed?", Permission.READ)
        assert len(recorded.asked) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("args", "named", "severity", "event_type", "data"),
    [
        (("warning", "disk is full", {"path": "/"}), {}, "warning", "disk is full", {"path": "/"}),
        (("ERROR", "disk is full"), {}, "ERROR", "disk is full", None),
        (("action_completed", {"action": "query"}), {}, "info", "action_completed", {"action": "query"}),
        (("action_completed",), {}, "info", "action_completed", None),
        (("something", "happened"), {}, "info", "something", {"message": "happened"}),
        (
            (CTX, {"event": "done", "message": "ok", "level": "debug"}),
            {},
            "debug",
            "done",
            {"message": "ok"},
        ),
        (({"message": "ok"},), {}, "info", "ok", {"message": "ok"}),
        ((), {"level": "info", "message": "m", "fields": {"a": 1}}, "info", "m", {"a": 1}),
        (("info",), {"message": "m"}, "info", "m", None),
    ],
)
def test_an_audit_entry_in_every_spelling(
    args: Any, named: dict[str, Any], severity: str, event_type: str, data: dict[str, Any] | None
) -> None:
    async def scenario() -> None:
        engine, recorded = a_context()

        await engine.log_event(*args, **named)

        sent = recorded.last
        assert (sent["severity"], sent["event_type"], sent["plugin_name"]) == (severity, event_type, "sample")
        assert (json.loads(base64.b64decode(sent["data_json"])) if sent["data_json"] else None) == data

    run(scenario)


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.log_event(),
        lambda engine: engine.log_event("a", "b", "c", "d"),
        lambda engine: engine.request_approval("only a reason"),
        lambda engine: engine.publish_result(),
        lambda engine: engine.publish_result("run", output={}, other=1),
    ],
)
def test_arguments_that_fit_no_spelling_are_refused(
    call: Callable[[EngineContext], Awaitable[object]],
) -> None:
    async def scenario() -> None:
        with pytest.raises(TypeError):
            await call(a_context()[0])

    run(scenario)


def test_another_plugin_is_called_with_the_action_in_its_parameters() -> None:
    async def scenario() -> None:
        engine, recorded = a_context(
            CallPlugin=[
                {"success": True, "result_json": b64('{"a": 1}')},
                {"success": True, "result_json": None},
                {"success": True, "result_json": b64("[1]")},
                {"success": False, "error": "no such thing"},
            ]
        )

        assert await engine.call_plugin("metrics", {"action": "query", "n": 5}) == {"a": 1}
        assert recorded.last["target_plugin"] == "metrics"
        assert recorded.last["caller_plugin"] == "sample"
        assert recorded.last["action_id"] == "query"
        assert json.loads(base64.b64decode(recorded.last["params_json"])) == {"action": "query", "n": 5}
        assert await engine.call_plugin(CTX, "metrics", {}) == {}  # type: ignore[arg-type]
        span = {"start_epoch_ms": 1, "end_epoch_ms": 2}
        assert await engine.call_plugin_with_time_range("metrics", {}, span) == {"result": [1]}
        assert recorded.last["time_range"]["end_epoch_ms"] == 2
        with pytest.raises(Refused, match="metrics failed: no such thing"):
            await engine.call_plugin_with_time_range("metrics", {}, TimeRange(1, 2))
        with pytest.raises(Invalid, match="bare plugin name"):
            await engine.call_plugin("metrics:query", {})

    run(scenario)


def test_key_figures_are_listed_and_found() -> None:
    async def scenario() -> None:
        engine, recorded = a_context(
            ListKPIs={"kpis": [{"id": "k", "more": 1}]}, GetKPI=[{"kpi": {"id": "k"}}, {"kpi": None}]
        )

        (kpi,) = await engine.list_kpis(kind="business")
        assert (kpi["id"], len(kpi)) == ("k", 14)
        assert recorded.last == {"tenant_id": TENANT, "kind": "business"}
        found = await engine.get_kpi("k")
        assert found is not None
        assert await engine.get_kpi("other") is None

    run(scenario)


@contextlib.asynccontextmanager
async def over_a_socket(small_engine: Any) -> AsyncIterator[tuple[EngineContext, Any]]:
    async with small_engine() as engine, Channel(engine.address) as channel:
        yield EngineContext(channel, plugin_name="sample", tenant_id=TENANT), engine


def test_an_approval_is_awaited_over_a_restart_of_the_engine(small_engine: Any) -> None:
    async def scenario() -> None:
        async with over_a_socket(small_engine) as (context, engine):

            async def never(_: object) -> None:
                await asyncio.Event().wait()

            engine.answers["RequestApproval"] = never
            waiting = asyncio.create_task(context.request_approval("run", "Proceed?", Permission.MODIFY))
            await engine.called("RequestApproval")
            engine.answers["RequestApproval"] = lambda _: {"approved": True}
            await engine.restart()
            assert await waiting is True
            first, second = [
                caller.metadata["x-headway-request-id"]
                for caller, (method, _) in zip(engine.callers, engine.calls, strict=True)
                if method == "RequestApproval"
            ]
            assert first == second

    run(scenario)


def test_an_engine_that_lacks_a_method_says_so(small_engine: Any) -> None:
    async def scenario() -> None:
        async with over_a_socket(small_engine) as (context, engine):
            engine.answers["ListKPIs"] = lambda _: (_ for _ in ()).throw(Refused("not here"))
            with pytest.raises(Refused, match="not here"):
                await context.list_kpis()

    run(scenario)


def test_every_engine_method_of_the_protocol_has_a_call() -> None:
    assert set(messages.ENGINE_METHODS) - {"RegisterPlugin", "DeregisterPlugin", "Heartbeat"} == {
        "GetConfig",
        "CacheGet",
        "CacheGetBatch",
        "CacheSet",
        "PublishResult",
        "RequestApproval",
        "LogEvent",
        "CallPlugin",
        "ListKPIs",
        "GetKPI",
    }
