"""Watching a job: a picture that moves, lines, or each event as a document, as the output wants it.

The events say when something happens; how everything stands is asked of the engine, at most LOOK_S apart.
The picture needs rich, which is imported when there is one to draw.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

import click
from headway_wire.errors import HeadwayError, Unavailable

from headway_cli.draw.scene import Scene
from headway_cli.failures import EXIT_FAILED_RUN
from headway_cli.feed import Away, listened
from headway_cli.mn import story
from headway_cli.mn.app import Mn
from headway_cli.mn.board import ENDED, renew, scene_of
from headway_cli.mn.feed import News, Told, told
from headway_cli.mn.history import History
from headway_cli.mn.outcome import outcome, results
from headway_cli.mn.values import moment_ms
from headway_cli.output import clean, document, duration, line_of, paint

FRAME_S = 0.1
"""Between two frames of a picture."""
LOOK_S = 0.4
"""Between two looks at how everything stands, while events come."""
IDLE_LOOK_S = 2.0
"""Between two looks while no event comes: queues move without any that is told."""

Heard = queue.Queue[News | HeadwayError | None]
"""None: there is no more to come."""


def watched(app: Mn, job_id: str, *, plain: bool = False, everything: bool = False) -> None:
    """Show a job until it is over, and exit with 6 when it did not complete.

    plain: lines, even on a terminal that could show the graph.  everything: events of every message too.
    """
    found = app.engine.job(job_id)
    if not app.for_people:
        _documents(app, job_id)
        _exit(app.engine.job(job_id))
        return
    scene = scene_of(job_id, found)
    drawing = app.drawing and not plain
    if drawing:
        _picture(app, scene)
    else:
        _lines(app, scene, found, everything=everything)
    final = app.engine.job(job_id)
    given = list(results(final) if drawing else outcome(final))
    for line in ["", *given] if given and drawing else given:
        click.echo(line)
    _exit(final)


def _documents(app: Mn, job_id: str) -> None:
    for news in told(app.engine, job_id):
        match news:
            case Told(event):
                click.echo(line_of(event) if app.output == "json" else document([event], app.output))
            case Away(why) if why:
                click.echo(f"{why}; trying again", err=True)
            case _:
                pass


def _listened(app: Mn, job_id: str) -> Heard:
    """What is heard of a job."""
    news: Iterator[News | None] = chain(told(app.engine, job_id), (None,))
    return listened(news, "events")


def _picture(app: Mn, scene: Scene) -> None:
    from headway_cli.picture import drawn

    heard = _listened(app, scene.id)
    looks = _Looks(app, scene)

    def news() -> bool:
        going = True
        for one in _taken(heard):
            match one:
                case Told(event):
                    if story.matters(event):
                        at_ms = moment_ms(event.get("timestamp"))
                        scene.recent.append((at_ms, story.short(event)))
                    scene.notice = ""
                    looks.take(event)
                case Away(why):
                    scene.notice = f"{why}; trying again" if why else ""
                case None:
                    going = False
        looks.renewed(now=not going)
        return going

    drawn(app, scene, news=news, enough=lambda: False)


def _taken(heard: Heard) -> Iterator[News | None]:
    """All that has come, after a frame at most.  Raises what was heard."""
    with suppress(queue.Empty):
        one = heard.get(timeout=FRAME_S)
        while True:
            if isinstance(one, HeadwayError):
                raise one
            yield one
            if one is None:
                return
            one = heard.get_nowait()


class _Looks:
    """When to ask how everything stands: soon after something has happened, else seldom."""

    def __init__(self, app: Mn, scene: Scene) -> None:
        self.app, self.scene = app, scene
        self._history = History()
        self._stale = False
        self._last_s = time.monotonic()

    def take(self, event: dict[str, Any]) -> None:
        """Something has happened."""
        self._history.take(event)
        self._stale = True

    def renewed(self, *, now: bool = False) -> bool:
        """Take into the scene what the engine says, when it is time to; nothing while it is away."""
        since_s = time.monotonic() - self._last_s
        if self.scene.notice or not (now or since_s > (LOOK_S if self._stale else IDLE_LOOK_S)):
            return False
        with suppress(Unavailable):  # The feed hears of that too, and says when the engine is back.
            renew(self.scene, self.app.engine.job(self.scene.id), self._history)
        self._last_s, self._stale = time.monotonic(), False
        return True


def _lines(app: Mn, scene: Scene, found: dict[str, Any], *, everything: bool) -> None:
    heard = _listened(app, scene.id)
    looks = _Looks(app, scene)
    room = story.column([*(clean(id) for id in scene.nodes)])
    shown = ""
    status = paint(str(found["job"].get("status", "")))
    click.echo(f"{clean(scene.workflow)}  {status}  {clean(scene.id)}")
    going = True
    while going:
        for one in _taken(heard):
            match one:
                case Told(event):
                    looks.take(event)
                    if everything or story.matters(event):
                        click.echo(story.line(event, scene.submitted_ms, room=room))
                    if event.get("type") == "approval_requested":
                        approval = clean(str(story.facts(event).get("approval_id")))
                        click.echo(f"{'':>7}  {'':<{room}}  → miractl approval approve {approval}")
                case Away(why):
                    scene.notice = why
                    if why:
                        click.echo(f"{clean(why)}; trying again", err=True)
                case None:
                    going = False
        if looks.renewed() and (queues := _queues(scene)) != shown:
            shown = queues
            since = duration(max(int(time.time() * 1_000) - scene.submitted_ms, 0))
            click.echo(f"{since:>7}  {'queues':<{room}}  {queues or 'empty'}")


def _queues(scene: Scene) -> str:
    waiting = [(id, scene.state(id)) for id in scene.nodes]
    return "  ".join(
        f"{clean(id)} ≡{state.queued}" + (f" {state.pressure}" if state.pressure != "normal" else "")
        for id, state in waiting
        if state.queued
    )


def _exit(found: dict[str, Any]) -> None:
    if found["job"].get("status") in ENDED - {"completed"}:
        raise click.exceptions.Exit(EXIT_FAILED_RUN)
