"""Emptying a node: what happens to each job, when it is over, and that a restart changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from headway.ports import Store
from headway.service.cluster.drains import DrainedJob, done, next_step, outlook, verdict
from headway.service.cluster.states import Drain
from headway.service.loops.drains import DrainLoop
from headway_wire.errors import Conflict, NotFound, Unavailable
from hypothesis import given
from hypothesis import strategies as st

from packages.engine.tests.service.cluster.houses import NODE, House, Workshop, bundle, house, on_each_store
from tests.waiting import until_async

HALF_AN_HOUR = 1_800_000


def workshop(**types: str) -> Workshop:
    """Running jobs of these types."""
    jobs = Workshop(**dict.fromkeys(types, "running"))
    jobs.types = types
    return jobs


def actions(drain: dict[str, Any]) -> dict[str, str]:
    return {action["job_id"]: action["status"] for action in drain["actions"]}


async def drain(home: House, **rest: Any) -> dict[str, Any]:
    return await home.cluster.drain_node(node_name=NODE, **rest)


# Decisions ----------------------------------------------------------------------------------------

BEGUN = Drain(0, 1_000)


@pytest.mark.parametrize(
    ("type", "status", "now_ms", "action", "effect"),
    [
        ("batch", "running", 0, "waiting", None),
        ("batch", "pending", 999, "waiting", None),
        ("batch", "running", 1_000, "waiting", "pause"),
        ("batch", "paused", 0, "paused_for_review", None),
        ("service", "running", 0, "blocked", None),
        ("service", "running", 1_000, "blocked", None),
        ("service", "paused", 0, "paused_for_review", None),
        ("system", "running", 0, "ignored", None),
        ("sysbatch", "running", 2_000, "ignored", None),
    ],
)
def test_what_happens_to_a_job_on_a_single_node(
    type: str, status: str, now_ms: int, action: str, effect: str | None
) -> None:
    found, effects = next_step(BEGUN, [DrainedJob("j", type, status)], now_ms=now_ms, elsewhere=False)

    assert found.actions[0].status == action
    assert effects == ([(effect, "j")] if effect else [])


@pytest.mark.parametrize(("type", "action"), [("system", "blocked"), ("sysbatch", "waiting")])
def test_system_jobs_count_when_they_are_not_to_be_ignored(type: str, action: str) -> None:
    asked = Drain(0, 1_000, ignore_system_jobs=False)

    found, _ = next_step(asked, [DrainedJob("j", type, "running")], now_ms=0, elsewhere=False)

    assert found.actions[0].status == action


def test_with_another_node_services_move_at_once_and_batch_jobs_at_the_deadline() -> None:
    jobs = [DrainedJob("b", "batch", "running"), DrainedJob("s", "service", "running")]

    _, early = next_step(BEGUN, jobs, now_ms=0, elsewhere=True)
    _, late = next_step(BEGUN, jobs, now_ms=1_000, elsewhere=True)

    assert early == [("move", "s")]
    assert late == [("move", "b"), ("move", "s")]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "complete"),
        (["ignored", "skipped", "migrated"], "complete"),
        (["waiting", "blocked"], "draining"),
        (["failed"], "draining"),
        (["blocked", "paused_for_review"], "blocked_no_placement"),
        (["paused_for_review", "skipped"], "paused_for_review"),
    ],
)
def test_what_single_actions_come_to(statuses: list[str], expected: str) -> None:
    assert verdict(statuses) == expected


job_sets = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(
        st.sampled_from(["batch", "service", "system", "sysbatch"]),
        st.sampled_from(["pending", "running", "paused"]),
    ),
    max_size=6,
)


@given(st.lists(st.tuples(job_sets, st.integers(0, 600)), max_size=6), st.booleans(), st.booleans())
def test_a_drain_knows_every_job_ends_only_when_none_is_left_and_asks_nothing_twice(
    steps: list[tuple[dict[str, tuple[str, str]], int]], ignore: bool, elsewhere: bool
) -> None:
    drain, now_ms = Drain(0, 1_000, "", ignore), 0
    for present, passed_ms in steps:
        now_ms += passed_ms
        jobs = [DrainedJob(id, *job) for id, job in present.items()]
        before = drain
        drain, effects = next_step(drain, jobs, now_ms=now_ms, elsewhere=elsewhere)

        again = next_step(drain, jobs, now_ms=now_ms, elsewhere=elsewhere)
        assert again == (drain, effects)
        known = {action.job_id: action for action in drain.actions}
        assert set(known) == {a.job_id for a in before.actions} | set(present)
        held = [id for id, (type, _) in present.items() if not (ignore and type in ("system", "sysbatch"))]
        if before.active:
            assert (drain.status == "complete") is not bool(held)
        else:
            assert drain.status == before.status
        assert {id for _, id in effects} <= set(held)
        if now_ms < drain.deadline_ms:
            assert not any(effect == "pause" for effect, _ in effects)
        assert all(known[id].status in ("waiting", "would_migrate") for _, id in effects)


def test_the_outlook_of_a_dry_run_believes_that_jobs_end_in_time() -> None:
    def told(*types: str) -> str:
        jobs = [DrainedJob(str(i), type, "running") for i, type in enumerate(types)]
        return outlook(next_step(BEGUN, jobs, now_ms=0, elsewhere=False)[0])

    assert told() == told("batch") == "complete"
    assert told("batch", "service") == "blocked_no_placement"


def test_what_was_done_is_what_the_drain_says() -> None:
    drain, _ = next_step(BEGUN, [DrainedJob("j", "batch", "running")], now_ms=1_000, elsewhere=False)

    drain = done(drain, "j", status="paused_for_review", reason="late", now_ms=1_000)

    assert (drain.status, drain.actions[0].reason) == ("paused_for_review", "late")


# The node -----------------------------------------------------------------------------------------


def test_a_node_without_jobs_is_empty_at_once_and_stays_out() -> None:
    async def scenario() -> None:
        home = await house()

        found = await drain(home, reason="new disk", deadline_ms=60_000)

        assert (found["status"], found["actions"], found["reason"]) == ("complete", [], "new disk")
        assert (found["node_status"], found["scheduling_eligible"]) == ("maintenance", False)
        assert await home.told() == ["node_drain_started", "node_drain_completed"]
        with pytest.raises(Conflict) as caught:
            await home.placement.place("job", bundle())
        assert caught.value.code == "node_in_maintenance"

    asyncio.run(scenario())


def test_a_dry_run_says_what_would_be_and_changes_nothing() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(b="batch", s="service", y="system"))

        found = await drain(home, dry_run=True)

        assert (found["status"], found["would_status"]) == ("dry_run", "blocked_no_placement")
        assert actions(found) == {"b": "waiting", "s": "blocked", "y": "ignored"}
        assert found["actions"][0]["affected_agents"] == ["b-agent"]
        assert (found["node_status"], found["scheduling_eligible"]) == ("healthy", True)
        assert await home.told() == []
        assert await home.store.list("/mirrorneuron/") == []
        assert await home.place("job") == {}

    asyncio.run(scenario())


def test_batch_jobs_are_waited_for_and_then_the_drain_is_complete(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        home = await house(store, workshop(one="batch", two="batch", y="system"))

        found = await drain(home)
        assert found["status"] == "draining"
        assert actions(found) == {"one": "waiting", "two": "waiting", "y": "ignored"}
        with pytest.raises(Conflict) as caught:
            await home.placement.place("job", bundle())
        assert caught.value.code == "node_draining"
        home.jobs.end("one")
        await home.cluster.step_all()
        home.jobs.end("two")
        assert await home.cluster.step_all() == 0

        shown = await home.cluster.get_node_drain_status(node_name=NODE)
        assert (shown["status"], shown["drain"]["status"]) == ("maintenance", "complete")
        assert actions(shown["drain"]) == {"one": "skipped", "two": "skipped", "y": "ignored"}
        assert await home.told() == [
            "node_drain_started",
            "node_drain_progress",
            "node_drain_progress",
            "node_drain_completed",
        ]

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


def test_what_is_left_at_the_deadline_is_paused_for_review() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))
        await drain(home, deadline_ms=5_000)
        home.clock.advance(4_999)
        await home.cluster.step_all()
        assert home.jobs.calls == []

        home.clock.advance(1)
        await home.cluster.step_all()
        await home.cluster.step_all()

        shown = (await home.cluster.get_node_drain_status(node_name=NODE))["drain"]
        assert (shown["status"], actions(shown)) == ("paused_for_review", {"one": "paused_for_review"})
        assert home.jobs.calls == ["pause one"]
        assert (await home.told())[-1] == "node_drain_blocked"
        await home.jobs.cancel("one")
        await home.cluster.step_all()
        assert (await home.cluster.get_node_drain_status(node_name=NODE))["drain"]["status"] == "complete"

    asyncio.run(scenario())


def test_a_pause_that_fails_is_tried_again() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))
        await drain(home, deadline_ms=1)
        home.clock.advance(1)
        home.jobs.refusals["pause"] = Unavailable("the store is away")

        await home.cluster.step_all()
        shown = (await home.cluster.get_node_drain_status(node_name=NODE))["drain"]
        assert (shown["status"], actions(shown)) == ("draining", {"one": "failed"})
        await home.cluster.step_all()

        assert home.jobs.statuses["one"] == "paused"

    asyncio.run(scenario())


def test_a_service_blocks_because_there_is_no_other_node() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(s="service"))

        found = await drain(home)

        assert (found["status"], actions(found)) == ("blocked_no_placement", {"s": "blocked"})
        await home.jobs.cancel("s")
        await home.cluster.step_all()
        assert (await home.cluster.get_node_drain_status(node_name=NODE))["drain"]["status"] == "complete"

    asyncio.run(scenario())


@pytest.mark.parametrize(("mark_eligible", "status"), [(False, "maintenance"), (True, "healthy")])
def test_a_drain_can_be_cancelled(mark_eligible: bool, status: str) -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))
        await drain(home)

        found = await home.cluster.cancel_node_drain(
            node_name=NODE, reason="changed my mind", mark_eligible=mark_eligible
        )

        assert (found["status"], found["reason"]) == ("cancelled", "changed my mind")
        assert found["scheduling_eligible"] is mark_eligible
        assert found["node_state"]["status"] == status
        assert found["node_state"]["drain"]["status"] == "cancelled"
        assert await home.cluster.step_all() == 0
        assert (await home.told())[-1] == "node_drain_cancelled"

    asyncio.run(scenario())


def test_a_drain_that_is_cancelled_while_a_step_is_taken_stays_cancelled() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))
        await drain(home, deadline_ms=1)
        home.clock.advance(1)
        pause = home.jobs.pause

        async def pause_and_cancel(job_id: str) -> str:
            await home.cluster.cancel_node_drain(node_name=NODE, mark_eligible=True)
            return await pause(job_id)

        home.jobs.pause = pause_and_cancel  # type: ignore[method-assign]
        await home.cluster.step_all()

        assert home.states.of(NODE).status == "healthy"
        assert (await home.told())[-1] == "node_drain_cancelled"

    asyncio.run(scenario())


def test_cancelling_where_nothing_is_drained_leaves_the_node_as_it_is() -> None:
    async def scenario() -> None:
        home = await house()

        found = await home.cluster.cancel_node_drain(node_name=NODE)

        assert (found["status"], found["scheduling_eligible"]) == ("cancelled", True)
        assert await home.told() == []

    asyncio.run(scenario())


def test_after_a_drain_the_node_is_marked_eligible_again() -> None:
    async def scenario() -> None:
        home = await house()
        await drain(home)

        await home.cluster.cancel_node_drain(node_name=NODE, mark_eligible=True)

        assert await home.place("job") == {}

    asyncio.run(scenario())


def test_a_second_request_gives_the_drain_a_new_deadline() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))
        first = await drain(home, deadline_ms=HALF_AN_HOUR)
        home.clock.advance(60_000)

        second = await drain(home, deadline_ms=1_000, reason="hurry")

        assert second["started_at"] == first["started_at"]
        assert second["deadline_at"] < first["deadline_at"]
        assert (await home.told()).count("node_drain_started") == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("deadline_ms", [0, -5])
def test_without_a_deadline_it_is_half_an_hour(deadline_ms: int) -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))

        found = await drain(home, deadline_ms=deadline_ms)

        assert (found["started_at"], found["deadline_at"]) == (
            "2023-11-14T22:13:20.000Z",
            "2023-11-14T22:43:20.000Z",
        )

    asyncio.run(scenario())


def test_a_drain_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        first = await house(store, workshop(one="batch"))
        await drain(first, reason="new disk")
        first.jobs.end("one")

        second = await first.reborn()
        loop = asyncio.create_task(DrainLoop(second.cluster).run())
        await until_async(lambda: second.states.of(NODE).status == "maintenance")
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

        assert (await second.told())[-1] == "node_drain_completed"
        assert (await second.cluster.get_node_drain_status(node_name=NODE))["drain"]["reason"] == "new disk"

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


def test_waiting_ends_with_the_drain() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))
        loop = asyncio.create_task(DrainLoop(home.cluster).run())
        waiting = asyncio.create_task(drain(home, wait=True))
        await until_async(lambda: home.states.of(NODE).status == "draining")
        assert not waiting.done()

        home.jobs.end("one")

        assert (await asyncio.wait_for(waiting, 10))["status"] == "complete"
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    asyncio.run(scenario())


def test_waiting_ends_when_the_caller_waits_no_longer() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))

        found = await asyncio.wait_for(drain(home, wait=True, wait_ms_max=50), 10)

        assert found["status"] == "draining"

    asyncio.run(scenario())


@pytest.mark.parametrize("enabled", [True, False])
def test_maintenance_takes_a_node_out_and_back_in(enabled: bool) -> None:
    async def scenario() -> None:
        home = await house()
        await home.cluster.set_node_maintenance(node_name=NODE, enabled=not enabled)

        found = await home.cluster.set_node_maintenance(node_name=NODE, enabled=enabled, reason="fan")

        assert found["status"] == ("maintenance" if enabled else "healthy")
        assert found["scheduling_eligible"] is not enabled
        assert found["maintenance"]["enabled"] is enabled
        assert found["maintenance"]["reason"] == "fan"
        assert (await home.reborn()).states.of(NODE).eligible is not enabled
        assert set(await home.told()) == {"node_maintenance_enabled", "node_maintenance_disabled"}

    asyncio.run(scenario())


def test_maintenance_can_neither_end_nor_hide_a_drain() -> None:
    async def scenario() -> None:
        home = await house(jobs=workshop(one="batch"))
        await drain(home)

        for enabled in (True, False):
            await home.cluster.set_node_maintenance(node_name=NODE, enabled=enabled)
            assert home.states.of(NODE).status == "draining"

    asyncio.run(scenario())


def test_an_unknown_node_is_not_found_and_the_known_are_named() -> None:
    async def scenario() -> None:
        home = await house()
        asked = (
            home.cluster.drain_node(node_name="nowhere"),
            home.cluster.cancel_node_drain(node_name="nowhere"),
            home.cluster.set_node_maintenance(node_name="nowhere", enabled=True),
            home.cluster.get_node_drain_status(node_name=""),
            home.cluster.reconcile_node(node_name="nowhere"),
        )
        for each in asked:
            with pytest.raises(NotFound, match=NODE) as caught:
                await each
            assert caught.value.code == "unknown_node"

    asyncio.run(scenario())
