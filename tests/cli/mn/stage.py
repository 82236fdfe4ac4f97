"""A runtime in memory behind the real servicers, on which tests play out jobs as they like."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from packages.engine.tests.rpc.runtime import Object, Objects, Runtime, Tale, host_of

NODE = "mirror_neuron@127.0.0.1"


@dataclass
class Stage(Runtime):
    """records: what GetJob tells, by job.  answers: what other calls answer, by name."""

    records: dict[str, Object] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def _asked(self, name: str, given: Mapping[str, Any]) -> Object:
        asked = super()._asked(name, given)
        return dict(self.answers[name]) if name in self.answers else asked

    async def get(self, job_id: str) -> Object | None:
        return self.records.get(job_id)

    async def list(self, *, limit: int = 100, include_terminal: bool = True) -> Objects:
        return [record["summary"] for record in self.records.values()][:limit]

    def _listed(self, name: str, given: Mapping[str, Any]) -> Objects:
        super()._asked(name, given)
        return list(self.answers.get(name, []))

    async def list_services(self, *, query: Object) -> Objects:
        return self._listed("list_services", locals())

    async def resolve_service(self, *, name: str, query: Object) -> Objects:
        return self._listed("resolve_service", locals())

    async def list_deployments(self, *, query: Object) -> Objects:
        return self._listed("list_deployments", locals())

    async def list_schedules(self, *, query: Object) -> Objects:
        return self._listed("list_schedules", locals())

    async def list_trigger_events(self, *, limit: int) -> Objects:
        return self._listed("list_trigger_events", locals())


@dataclass
class Playing:
    """A stage that listens at `target`, on an event loop in a thread of its own."""

    stage: Stage
    target: str
    loop: asyncio.AbstractEventLoop

    def job(self, id: str, record: Object, *events: Object) -> None:
        """Put a job on the stage."""
        self.stage.records[id] = record
        self.stage.jobs[id] = Tale(list(events))

    def operation(self, id: str, events: Objects) -> None:
        """Put a group operation on the stage."""
        self.stage.operations[id] = Tale(events)

    def tell(self, id: str, event: Object) -> None:
        """Let something happen to a job."""
        tale = self.stage.jobs[id]
        asyncio.run_coroutine_threadsafe(tale.tell(event), self.loop).result(5)


@contextmanager
def playing(*, token: str = "", address: str = "127.0.0.1:0") -> Iterator[Playing]:
    """A stage, listening."""
    stage = Stage()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stage", daemon=True)
    thread.start()
    host = host_of(stage, token=token)
    try:
        port = asyncio.run_coroutine_threadsafe(host.start(address), loop).result(10)
        yield Playing(stage, f"127.0.0.1:{port}", loop)
        asyncio.run_coroutine_threadsafe(host.stop(0), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
