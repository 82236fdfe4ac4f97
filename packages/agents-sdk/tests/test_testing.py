"""The test client and the mock engine: what a test of an agent can rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest
from headway_wire.errors import Forbidden, Invalid, NotFound, Refused, Unavailable
from mirastack_sdk.agent import Agent
from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse, TimeRange
from mirastack_sdk.context import EngineContext
from mirastack_sdk.declarations import Action, PluginInfo
from mirastack_sdk.enums import ExecutionMode, Permission
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.testing import (
    AskedApproval,
    CalledPlugin,
    LoggedEvent,
    MockEngineClient,
    PublishedResult,
    TestClient,
    make_execute_request,
)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 10))


def an_agent() -> Agent:
    agent = Agent("thing", version="1.0.0", description="Knows things")
    names = {"1": "first"}

    @agent.action(permission="READ")
    async def get(id: str, times: int = 1) -> str:
        """Gets a name."""
        return names[id] * times

    @agent.action(permission="MODIFY")
    async def rename(id: str, name: str) -> None:
        """Renames a thing."""
        names[id] = name

    @agent.action(permission="ADMIN")
    def wipe() -> int:
        """Forgets every name."""
        names.clear()
        return len(names)

    @agent.action(permission="READ")
    async def busy() -> None:
        """Is never ready."""
        raise Unavailable("the backend is busy; try again")

    return agent


def test_a_call_gives_the_output_as_plain_json() -> None:
    assert run(TestClient(an_agent()).call("get", id="1", times=2)) == "firstfirst"


def test_changes_are_approved_by_the_client() -> None:
    client = TestClient(an_agent())

    assert run(client.call("rename", id="1", name="second")) == {}
    assert run(client.call("get", id="1")) == "second"
    assert run(client.call("wipe")) == 0


@pytest.mark.parametrize(("action", "params"), [("rename", {"id": "1", "name": "x"}), ("wipe", {})])
def test_a_change_that_nobody_approved_is_refused_and_does_not_happen(
    action: str, params: dict[str, str]
) -> None:
    client = TestClient(an_agent())

    with pytest.raises(Forbidden) as caught:
        run(client.call_unsealed(action, **params))

    assert caught.value.code == "grant_refused"
    assert run(client.call("get", id="1")) == "first"


def test_reading_needs_no_approval() -> None:
    assert run(TestClient(an_agent()).call_unsealed("get", id="1")) == "first"


def test_a_call_raises_what_the_action_raised() -> None:
    client = TestClient(an_agent())

    with pytest.raises(KeyError):
        run(client.call("get", id="9"))
    with pytest.raises(Unavailable, match="busy"):
        run(client.call("busy"))
    with pytest.raises(Invalid) as caught:
        run(client.call("get", identity="1", times="many"))
    assert [problem.where for problem in caught.value.problems] == ["identity", "id", "times"]
    with pytest.raises(NotFound, match="offers get, rename, wipe, busy"):
        run(client.call("got"))


def test_run_tells_the_failure_as_the_engine_hears_it() -> None:
    client = TestClient(an_agent())

    busy = run(client.run("busy"))
    missing = run(client.run("get", {"id": "9"}))

    assert (busy.ok, busy.error.code, busy.error.retryable) == (False, "unavailable", True)
    assert (missing.ok, missing.error.code, missing.error.retryable) == (False, "action_failed", False)


def test_parameters_can_be_sent_as_text_as_the_callback_link_does() -> None:
    result = run(TestClient(an_agent()).run("get", {"id": "1", "times": 3}, as_text=True))
    change = run(TestClient(an_agent()).run("rename", {"id": "1", "name": "x"}, as_text=True))

    assert result.output == "firstfirstfirst"
    assert change.ok


def test_a_plugin_that_breaks_the_gate_is_refused_with_every_violation() -> None:
    agent = Agent("thing", version="", description=" ")

    with pytest.raises(Invalid) as caught:
        TestClient(agent)

    assert caught.value.code == "quality_gate"
    assert len(caught.value.problems) == 4


class Curious(Plugin):
    """Gives back what it was asked, and keeps the engine it was given."""

    engines: tuple[Any, ...] = ()

    def info(self) -> PluginInfo:
        return PluginInfo("curious", "1", "Asks", actions=[Action("ask", "Asks", "READ", "plan")])

    def set_engine_context(self, ctx: EngineContext) -> None:
        self.engines += (ctx,)

    def execute(self, req: ExecuteRequest) -> ExecuteResponse:  # type: ignore[override]  # sync is allowed
        self.engines += (req.engine_client, self._engine_context)
        window = req.time_range
        return ExecuteResponse([req.mode.name, window and window.original_expression], ["asked"])


def test_a_plugin_sees_mode_time_range_and_one_engine_three_ways() -> None:
    plugin, engine = Curious(), MockEngineClient()
    client = TestClient(plugin, engine=engine)

    result = run(client.run("ask", time_range=TimeRange(1, 2, "UTC", "today"), mode=ExecutionMode.GUIDED))

    assert result.output == ["GUIDED", "today"]
    assert result.logs == ["asked"]
    assert plugin.engines == (engine, engine, engine)


def test_the_mock_engine_remembers_everything_it_was_asked() -> None:
    engine = MockEngineClient(
        {"backend.url": "http://b"},
        plugins={"metrics": {"up": True}, "echo": lambda params: {"got": params}},
        kpis=[{"id": "k1", "name": "Errors", "kind": "technical"}, {"id": "k2", "kind": "business"}],
    )

    async def use() -> None:
        assert await engine.get_config("backend.url") == "http://b"
        engine.config["backend.url"] = "http://c"
        assert await engine.get_config() == {"backend.url": "http://c"}
        await engine.cache_set("key", "välue", ttl=timedelta(minutes=5))
        assert await engine.cache_get("key") == "välue"
        assert await engine.cache_get("other") is None
        found = await engine.cache_get_batch(["other", "key"])
        assert [(entry["found"], entry["value"]) for entry in found] == [(False, None), (True, "välue")]
        await engine.publish_result("run-1", {"half": 1})
        assert await engine.request_approval("Proceed?", Permission.MODIFY, context={"n": 1})
        await engine.log_event("warning", "slow", {"ms": 5})
        assert await engine.call_plugin("metrics", {"action": "q"}) == {"up": True}
        window = TimeRange(1, 2)
        echoed = await engine.call_plugin_with_time_range("echo", {"action": "e"}, window)
        assert echoed == {"got": {"action": "e"}}
        assert [kpi["id"] for kpi in await engine.list_kpis(kind="business")] == ["k2"]
        kpi = await engine.get_kpi("k1")
        assert kpi is not None and kpi["name"] == "Errors"
        assert await engine.get_kpi("k3") is None
        with pytest.raises(Refused, match="there is no plugin gone; this mock knows metrics, echo"):
            await engine.call_plugin("gone", {})
        with pytest.raises(Invalid, match="READ needs none"):
            await engine.request_approval("May I look?", Permission.READ)

    run(use())

    assert engine.cache == {"key": "välue"}
    assert engine.published == [PublishedResult("run-1", {"half": 1})]
    assert engine.approvals == [AskedApproval("Proceed?", Permission.MODIFY, {"n": 1})]
    assert engine.events == [LoggedEvent("warning", "slow", {"ms": 5})]
    assert engine.calls == [
        CalledPlugin("metrics", {"action": "q"}, None),
        CalledPlugin("echo", {"action": "e"}, TimeRange(1, 2)),
        CalledPlugin("gone", {}, None),
    ]


def test_a_mock_engine_may_say_no() -> None:
    assert run(MockEngineClient(approves=False).request_approval("Proceed?", Permission.ADMIN)) is False


def test_a_made_request_carries_text_or_values() -> None:
    engine = MockEngineClient()

    text = make_execute_request({"action": "get", "id": "1"}, engine)
    values = make_execute_request({"id": "1", "n": 2}, action_id="get", time_range=TimeRange(1, 2))

    assert (text.action_id, text.params, text.values) == ("get", {"action": "get", "id": "1"}, None)
    assert text.engine_client is engine
    assert (values.params, values.values) == ({"action": "get", "id": "1", "n": "2"}, {"id": "1", "n": 2})
    assert values.time_range == TimeRange(1, 2)
