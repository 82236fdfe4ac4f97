"""Waiting for an execution, and showing how it goes: a picture, lines, or nothing, as the output wants it.

The picture needs rich, which is imported when there is one to draw.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import click
from headway_wire.errors import HeadwayError, NotFound, Unavailable

from headway_cli.draw.scene import FINAL, RESTING, Scene, follow, origin
from headway_cli.failures import EXIT_FAILED_RUN
from headway_cli.feed import Away, listened
from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import path
from headway_cli.miractl.feed import End, Entry, entries
from headway_cli.miractl.outcome import outcome, outputs
from headway_cli.miractl.session import Session
from headway_cli.output import clean, document, duration, line_of, paint

DEPTH_MAX = 5
FRAME_S = 0.1
"""Between two frames of a picture."""

CHILDREN_S = 2.0
"""How often the executions that steps have started are looked at: their gates do not show in the parent."""

News = Entry | End | Away | HeadwayError
Stop = Callable[[Scene], bool]


def started(app: Miractl, execution: dict[str, Any], *, wait: bool) -> None:
    """After something was started: wait for it when asked to, show what became of it, and exit with that."""
    id = clean(execution["id"])
    if not wait:
        app.done(execution, f"{id} has begun\n  Watch it: miractl execution watch {id}")
        return
    session = app.session

    looked_s = time.monotonic()

    def rests(scene: Scene) -> bool:
        # What was streamed may lie in the past, so the engine is asked before waiting ends.
        nonlocal looked_s
        if not scene.rests and scene.phase != "paused":
            if not scene.has_children or time.monotonic() - looked_s < CHILDREN_S:
                return False
            looked_s = time.monotonic()
        try:
            return all_rest(session, session.call("GET", "/executions" + path(scene.id)))
        except Unavailable:  # The feed hears of that too, tries again, and says when the engine is back.
            return False

    _conclude(app, execution["id"], _shown(app, execution, rests))


def watched(app: Miractl, id: str, *, plain: bool) -> None:
    """Show an execution until it is over, and exit with 6 when it did not succeed."""
    execution = app.session.call("GET", "/executions" + path(id))
    if app.for_people:
        _conclude(app, execution["id"], _shown(app, execution, lambda scene: False, plain=plain))
        return
    for news in entries(app.session, execution["id"]):
        match news:
            case Entry(value):
                click.echo(line_of(value) if app.output == "json" else document([value], "yaml"))
            case End(status):
                _exit(status)
            case Away(why):
                if why:
                    click.echo(f"{why}; trying again", err=True)


def _conclude(app: Miractl, id: str, drawn: bool) -> None:
    """Show what became of it.  Below a picture, only what the picture leaves out."""
    final = app.session.call("GET", "/executions" + path(id))
    if drawn and final["outputs"]:
        app.say("")
    app.show(final, outputs if drawn else outcome)
    _exit(final["status"])


def _shown(app: Miractl, execution: dict[str, Any], stop: Stop, *, plain: bool = False) -> bool:
    """Show an execution until it is over or `stop` says so; whether a picture of it is on the terminal."""
    scene = Scene.of(execution)
    news = listened(entries(app.session, scene.id), "entries")
    if app.drawing and not plain:
        from headway_cli.picture import drawn

        drawn(
            app,
            scene,
            news=lambda: _heard(app, scene, news),
            enough=lambda: news.empty() and stop(scene),
        )
        return True
    if app.for_people:
        _in_lines(scene, news, stop)
    else:
        _silently(scene, news, stop)
    return False


def taken(scene: Scene, news: News) -> bool:
    """Take one piece of news into the scene; False when there is no more to come.  Raises what was heard."""
    match news:
        case Entry(value):
            follow(scene, value)
            scene.notice = ""
        case Away(why):
            scene.notice = f"{why}; trying again" if why else ""
        case End():
            return False
        case HeadwayError():
            raise news
    return True


def _heard(app: Miractl, scene: Scene, heard: queue.Queue[News]) -> bool:
    """Take all that has come, or wait for a frame; False when there is no more to come."""
    going = True
    with suppress(queue.Empty):
        going = taken(scene, heard.get(timeout=FRAME_S))
        while going and not heard.empty():
            going = taken(scene, heard.get_nowait())
    _look(app, scene)
    return going


def _silently(scene: Scene, news: queue.Queue[News], stop: Stop) -> None:
    while True:
        try:
            if not taken(scene, news.get(timeout=CHILDREN_S)):
                return
        except queue.Empty:
            pass  # Nothing was heard; what the steps have started may rest all the same.
        if news.empty() and stop(scene):
            return


def _in_lines(scene: Scene, heard: queue.Queue[News], stop: Stop) -> None:
    while True:
        try:
            news = heard.get(timeout=CHILDREN_S)
        except queue.Empty:
            if stop(scene):
                return
            continue
        if isinstance(news, Entry):
            for line in _entry_lines(news.value, scene.submitted_ms):
                click.echo(line)
        elif isinstance(news, Away) and news.why:
            click.echo(f"{clean(news.why)}; trying again", err=True)
        if not taken(scene, news) or (heard.empty() and stop(scene)):
            return


def _entry_lines(entry: dict[str, Any], begin_ms: int) -> Iterator[str]:
    since = duration(max(entry["at_ms"] - begin_ms, 0))
    for item in entry["items"]:
        if item["text"] and item["event"] != "beaten":
            text = clean(item["text"]).replace("\n", " ")
            yield f"{since:>8}  {paint(item['status'], text) if item['status'] else text}"


def _look(app: Miractl, scene: Scene) -> None:
    """Ask for what the journal does not tell, once for each: what a gate seals, how many instances there are.

    While the engine is away nothing is asked; the feed says when it is back.
    """
    if not scene.notice:
        with suppress(Unavailable):
            _ask(app, scene)


def _ask(app: Miractl, scene: Scene) -> None:
    for id in list(scene.open_gates):
        if id not in scene.approvals:
            scene.approvals[id] = app.session.call("GET", "/approvals" + path(id))
    for step in [step for step, total in scene.totals.items() if not total]:
        steps = app.session.call("GET", "/executions" + path(scene.id, "steps"))
        scene.count(steps["items"])
        if not scene.totals[step]:
            del scene.totals[step]


def resting(execution: Mapping[str, Any]) -> bool:
    """Whether an execution goes on only when a person acts: all that is open is gated, unknown or paused."""
    steps = execution["steps"]
    spread = {origin(step["id"]) for step in steps if origin(step["id"]) != step["id"]}
    begun = {step["status"] for step in steps if step["id"] not in spread} - FINAL - {"pending"}
    if execution["status"] == "paused":
        return begun.isdisjoint({"running"})
    return bool(begun) and begun <= RESTING


def all_rest(session: Session, execution: Mapping[str, Any], *, depth: int = 0) -> bool:
    """`resting`, where a step counts as resting too when the execution that it has started rests."""
    if resting(execution):
        return True
    running = [step for step in execution["steps"] if step["status"] == "running"]
    children = [step["child"] for step in running if step.get("child")]
    others = {step["status"] for step in execution["steps"]} - FINAL - RESTING - {"pending", "running"}
    if not children or len(children) != len(running) or others or depth >= DEPTH_MAX:
        return False
    try:
        found = [session.call("GET", "/executions" + path(child)) for child in children]
    except NotFound:
        return False  # It is about to begin.
    return all(all_rest(session, child, depth=depth + 1) for child in found)


def _exit(status: str) -> None:
    if status in ("failed", "cancelled", "timed_out"):
        raise click.exceptions.Exit(EXIT_FAILED_RUN)
