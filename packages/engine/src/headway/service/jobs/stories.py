"""Stories of jobs, read from the journal: from the beginning and on, or the latest of a long one."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from headway_wire.manifest import Manifest

from headway.core.run import Run
from headway.service.engine import Engine
from headway.service.entries import decode_events, fold
from headway.service.jobs.records import Record
from headway.service.jobs.story import Story

STORY_EVENTS_MAX = 5_000
LINES_PER_READ = 500


class StoryReader:
    """Tells the story of a job from the journal as far as it goes, and later what has come since.

    Whoever reads slowly holds one page of it, however long the story is.
    """

    def __init__(self, engine: Engine, story: Story, job_id: str) -> None:
        self._engine, self._story, self._job_id, self._seq = engine, story, job_id, -1

    async def more(self) -> AsyncGenerator[Record, None]:
        """What was not told yet."""
        while True:
            lines = await self._engine.store.lines(self._job_id, after_seq=self._seq, limit=LINES_PER_READ)
            for line in lines:
                self._seq = line.seq
                for event in self._story.tell(decode_events(line.events), at_ms=line.at_ms):
                    yield event
            if len(lines) < LINES_PER_READ:
                return


class Stories:
    """Finds the stories of jobs.  node: the name of the node that work runs on."""

    def __init__(self, engine: Engine, *, node: str) -> None:
        self._engine, self._node = engine, node

    async def reader(self, run: Run, manifest: Manifest) -> StoryReader:
        """The story from the beginning: with the plan as it was stored, before the run changed it."""
        plan = await self._engine.plan(run.plan_digest) if run.grafted else run.plan
        story = Story(plan, node=self._node, pressure=_pressure(manifest))
        return StoryReader(self._engine, story, run.id)

    async def latest(self, run: Run, manifest: Manifest) -> list[Record]:
        """The latest events in order; all of them unless the history is long."""
        if run.length <= STORY_EVENTS_MAX:
            return [event async for event in (await self.reader(run, manifest)).more()]
        plan = await self._engine.plan(run.plan_digest)
        history = (await self._engine.store.load([run.id]))[0]
        start = fold(plan, history.snapshot, [])
        story = Story.since(start, node=self._node, pressure=_pressure(manifest))
        told = []
        for _, text in history.entries:
            told += story.tell(decode_events(text), at_ms=run.submitted_ms)
        return told


def _pressure(manifest: Manifest) -> dict[str, tuple[int, int, int]]:
    return {
        node.id: (
            node.backpressure.high_watermark,
            node.backpressure.low_watermark,
            node.backpressure.max_queue_depth,
        )
        for node in manifest.nodes
    }
