"""Group operations: each job once, followed as it goes, and going on after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headway.ports import Store
from headway.service.cluster.operations import RUNNING_MAX
from headway.service.loops.drains import DrainLoop
from headway.stores.memory import MemoryStore
from headway_wire.errors import Broken, Invalid, NotFound, Throttled, TimedOut, Unavailable

from packages.engine.tests.service.cluster.houses import NODE, House, Workshop, house, on_each_store
from tests.waiting import until_async


async def ended(home: House, operation_id: str) -> dict[str, Any]:
    """The operation once it has ended."""
    async with asyncio.timeout(20):
        async for _ in home.operations.stream_operation_events(
            operation_id=operation_id, after_sequence=0, follow=True
        ):
            pass
    return await home.operations.get_operation(operation_id=operation_id)


async def started(home: House, kind: str, **options: Any) -> str:
    operation = await home.operations.start_operation(kind=kind, options=options)
    return str(operation["operation_id"])


async def events(home: House, operation_id: str, after: int = 0) -> list[tuple[str, str, str]]:
    stream = home.operations.stream_operation_events(
        operation_id=operation_id, after_sequence=after, follow=False
    )
    return [(event["type"], event["item_id"], event["status"]) async for event in stream]


def test_all_jobs_are_cancelled_and_each_is_told(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        home = await house(store, Workshop(a="running", b="paused", c="completed"))

        id = await started(home, "cancel_all_jobs")
        found = await ended(home, id)

        assert (found["kind"], found["status"], found["target_count"]) == ("cancel_all_jobs", "completed", 2)
        assert found["counters"] == {"total": 2, "finished": 2, "succeeded": 2, "deferred": 0, "failed": 0}
        assert await events(home, id) == [
            ("operation_started", "", ""),
            ("item_started", "a", ""),
            ("item_completed", "a", "cancelled"),
            ("item_started", "b", ""),
            ("item_completed", "b", "cancelled"),
            ("operation_completed", "", "completed"),
        ]
        assert await events(home, id, after=4) == (await events(home, id))[4:]
        assert home.jobs.statuses == {"a": "cancelled", "b": "cancelled", "c": "completed"}
        assert await (await home.reborn()).operations_after_load(id) == found

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


@pytest.mark.parametrize(
    ("error", "status", "whole"),
    [
        (NotFound("job a is not running"), "ignored", "completed"),
        (TimedOut("no answer"), "cancellation_pending", "completed"),
        (Broken("damaged"), "failed", "completed_with_failures"),
    ],
)
def test_a_job_that_cannot_be_cancelled_does_not_keep_the_others(
    error: Exception, status: str, whole: str
) -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(a="running", b="running"))
        home.jobs.refusals["cancel"] = error  # type: ignore[assignment]

        id = await started(home, "cancel_all_jobs")
        found = await ended(home, id)

        assert found["status"] == whole
        assert ("item_completed", "a", status) in await events(home, id)
        assert home.jobs.statuses["b"] == "cancelled"

    asyncio.run(scenario())


def test_what_the_store_refuses_is_tried_again() -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(a="running"))
        home.jobs.refusals["cancel"] = Unavailable("the store is away")

        found = await ended(home, await started(home, "cancel_all_jobs"))

        assert (found["status"], home.jobs.calls) == ("completed", ["cancel a", "cancel a"])

    asyncio.run(scenario())


def test_jobs_that_have_ended_are_cleared() -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(a="running", b="completed", c="failed"))

        id = await started(home, "clear_jobs")
        found = await ended(home, id)

        assert (found["status"], found["target_count"]) == ("completed", 2)
        assert [e for e in await events(home, id) if e[0] == "item_completed"] == [
            ("item_completed", "b", "cleared"),
            ("item_completed", "c", "cleared"),
        ]
        assert home.jobs.statuses == {"a": "running"}

    asyncio.run(scenario())


def test_an_operation_goes_on_after_a_restart_and_does_nothing_twice(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        first = await house(store, Workshop(a="running", b="running", c="running"))
        reached = asyncio.Event()
        cancel = first.jobs.cancel

        async def held(job_id: str, reason: str = "") -> str:
            if job_id == "b":
                reached.set()
                await asyncio.Event().wait()
            return await cancel(job_id, reason)

        first.jobs.cancel = held  # type: ignore[method-assign]
        id = await started(first, "cancel_all_jobs")
        await asyncio.wait_for(reached.wait(), 10)
        await first.operations.close()
        assert (await first.operations.get_operation(operation_id=id))["status"] == "running"
        first.jobs.cancel = cancel  # type: ignore[method-assign]

        second = await first.reborn()
        await second.operations.load()
        found = await ended(second, id)

        assert (found["status"], found["counters"]["succeeded"]) == ("completed", 3)
        assert first.jobs.calls == ["cancel a", "cancel b", "cancel c"]
        told = await events(second, id)
        assert len(told) == len(set(told)) == 8

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


def test_a_drain_is_followed_until_its_jobs_have_ended() -> None:
    async def scenario() -> None:
        jobs = Workshop(b="running", y="running")
        jobs.types = {"y": "system"}
        home = await house(jobs=jobs)
        loop = asyncio.create_task(DrainLoop(home.cluster).run())

        id = await started(home, "drain_node", node=NODE, reason="new disk")
        await until_async(lambda: home.states.of(NODE).status == "draining")
        await until_async(lambda: events(home, id))
        jobs.end("b")
        found = await ended(home, id)

        assert found["status"] == "completed"
        assert found["options"]["node_name"] == NODE
        told = await events(home, id)
        assert ("item_deferred", "b", "") in told
        assert ("item_completed", "b", "completed") in told
        assert ("item_completed", "y", "ignored") in told
        assert ("operation_deferred", "", "") in told
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    asyncio.run(scenario())


def test_a_drain_that_is_blocked_ends_the_operation_with_what_is_deferred() -> None:
    async def scenario() -> None:
        jobs = Workshop(s="running")
        jobs.types = {"s": "service"}
        home = await house(jobs=jobs)

        found = await ended(home, await started(home, "drain_node", node_name=NODE))

        assert (found["status"], found["counters"]["deferred"]) == ("completed_with_failures", 1)
        assert home.states.of(NODE).status == "draining"

    asyncio.run(scenario())


def test_a_dry_drain_changes_nothing() -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(b="running"))

        id = await started(home, "drain_node", node_name=NODE, dry_run=True)

        assert (await ended(home, id))["status"] == "completed"
        assert ("item_completed", "b", "dry_run") in await events(home, id)
        assert home.states.of(NODE).status == "healthy"

    asyncio.run(scenario())


def test_a_drain_that_was_cancelled_is_not_begun_again_by_a_restart() -> None:
    async def scenario() -> None:
        first = await house(jobs=Workshop(b="running"))
        id = await started(first, "drain_node", node_name=NODE)
        await until_async(lambda: first.states.of(NODE).status == "draining")
        await first.operations.close()
        await first.cluster.cancel_node_drain(node_name=NODE, mark_eligible=True)

        second = await first.reborn()
        await second.operations.load()
        found = await ended(second, id)

        assert found["status"] in ("completed", "completed_with_failures")
        assert second.states.of(NODE).status == "healthy"

    asyncio.run(scenario())


def test_a_node_is_reconciled() -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(a="running"))
        await home.place("gone", nodes=[{"resources": {"ports": [{"label": "p"}]}}])
        home.jobs.end("gone")

        id = await started(home, "reconcile_node", node_name=NODE)
        found = await ended(home, id)

        assert found["status"] == "completed"
        told = [event for event in await events(home, id) if event[0] == "item_completed"]
        assert told == [("item_completed", "a", "skipped"), ("item_completed", "gone", "recovered")]

    asyncio.run(scenario())


def test_wrong_kinds_ids_and_nodes_are_refused() -> None:
    async def scenario() -> None:
        home = await house()
        with pytest.raises(Invalid, match="clear_jobs, cancel_all_jobs, reconcile_node, drain_node") as kind:
            await started(home, "reboot")
        assert kind.value.code == "unknown_operation_kind"
        with pytest.raises(NotFound) as node:
            await started(home, "drain_node", node_name="nowhere")
        assert node.value.code == "unknown_node"
        with pytest.raises(NotFound) as id:
            await home.operations.get_operation(operation_id="op-x")
        assert id.value.code == "unknown_operation"
        with pytest.raises(NotFound):
            await events(home, "op-x")

    asyncio.run(scenario())


def test_only_the_newest_operations_are_kept() -> None:
    async def scenario() -> None:
        home = await house(kept=2)
        ids = []
        for _ in range(4):
            ids.append(await started(home, "clear_jobs"))
            await ended(home, ids[-1])
            home.clock.advance(1)

        with pytest.raises(NotFound):
            await home.operations.get_operation(operation_id=ids[0])
        assert (await home.operations.get_operation(operation_id=ids[3]))["status"] == "completed"
        assert not await home.store.list(f"/mirrorneuron/acme/operation-events/{ids[0]}/")

    asyncio.run(scenario())


def away(moment: str) -> None:
    """The store is away."""
    raise Unavailable("the store is away")


def test_an_operation_goes_on_though_older_ones_cannot_be_forgotten() -> None:
    async def scenario() -> None:
        store, writes = MemoryStore(), 0
        home = await house(store, Workshop(a="running"), kept=1)
        await ended(home, await started(home, "cancel_all_jobs"))
        home.jobs.statuses["b"] = "running"

        def after_the_first(moment: str) -> None:
            nonlocal writes
            writes += moment.startswith("before")
            if writes > 1:
                away(moment)

        store.faults = after_the_first
        id = await started(home, "cancel_all_jobs")
        store.faults = None

        assert (await ended(home, id))["status"] == "completed"
        assert home.jobs.statuses["b"] == "cancelled"

    asyncio.run(scenario())


def test_an_operation_that_failed_says_so_though_the_store_was_away_when_it_did() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        home = await house(store, Workshop(a="completed"))
        home.jobs.refusals["clear"] = Broken("damaged")
        id = await started(home, "clear_jobs")

        tries = 0

        def at_the_end(moment: str) -> None:
            nonlocal tries
            if "clear" in home.jobs.calls:
                tries += 1
                away(moment)

        store.faults = at_the_end
        await until_async(lambda: tries > 2, what="the third try to say so")
        store.faults = None

        assert (await ended(home, id))["status"] == "failed"
        assert (await events(home, id))[-1] == ("operation_completed", "", "failed")
        assert home.jobs.calls == ["clear"]

    asyncio.run(scenario())


def test_an_operation_ended_as_its_last_event_says_though_a_crash_came_before_its_record() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        home = await house(store, Workshop(a="completed"))
        home.jobs.refusals["clear"] = Broken("damaged")
        store.faults = away_from(5)  # Its record, three events, and its record again.
        id = await started(home, "clear_jobs")
        stream = home.operations.stream_operation_events(operation_id=id, after_sequence=0, follow=True)
        assert [(await anext(stream))["type"] for _ in range(3)][-1] == "operation_completed"
        assert (await home.operations.get_operation(operation_id=id))["status"] == "running"
        await home.operations.close()
        store.faults = None
        reborn = await home.reborn()
        await reborn.operations.load()

        assert (await ended(reborn, id))["status"] == "failed"
        assert home.jobs.calls == ["clear"]

    asyncio.run(scenario())


def away_from(number: int) -> Callable[[str], None]:
    """Faults: from the `number`-th write on, the store is away."""
    writes = 0

    def faults(moment: str) -> None:
        nonlocal writes
        writes += moment.startswith("before")
        if writes >= number:
            away(moment)

    return faults


def test_so_many_operations_run_at_once_and_no_more_however_they_are_asked_for() -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(a="running"), kept=5)
        home.jobs.types["a"] = "service"
        asked = [
            home.operations.start_operation(kind="drain_node", options={"node": NODE}) for _ in range(60)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]

        assert {type(error) for error in refused} == {Throttled}
        assert len(answers) - len(refused) == RUNNING_MAX
        await home.operations.close()

    asyncio.run(scenario())
