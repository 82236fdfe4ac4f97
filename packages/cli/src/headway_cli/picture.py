"""A picture on the terminal that changes as an execution goes on.  The only module that imports rich."""

from __future__ import annotations

import queue
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from headway_cli.app import App
from headway_cli.draw.canvas import Line
from headway_cli.draw.frame import frame
from headway_cli.draw.scene import Scene
from headway_cli.output import now_ms
from headway_cli.progress import FRAME_S, News, Stop, taken

ROWS_LEFT = 1
"""Rows of the terminal that the picture leaves to the line below it."""


def drawn(app: App, scene: Scene, heard: queue.Queue[News], stop: Stop, *, look: Callable[[], None]) -> None:
    """Draw until the execution is over or `stop` says so; the last picture stays.

    look: asks the engine for what the journal does not tell.  Raises what was heard.
    """
    console = Console(no_color=app.colourless or None, highlight=False, soft_wrap=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        going = True
        while going:
            going = _heard(scene, heard)
            look()
            live.update(_text(console, scene), refresh=True)
            if going and heard.empty() and stop(scene):
                return


def _heard(scene: Scene, heard: queue.Queue[News]) -> bool:
    """Take all that has come, or wait for a frame; False when there is no more to come."""
    try:
        going = taken(scene, heard.get(timeout=FRAME_S))
        while going and not heard.empty():
            going = taken(scene, heard.get_nowait())
    except queue.Empty:
        return True
    return going


def _text(console: Console, scene: Scene) -> Text:
    lines = frame(scene, width=console.width, height=console.height - ROWS_LEFT, now_ms=now_ms())
    return Text("\n", no_wrap=True, overflow="crop").join(_line(line) for line in lines)


def _line(line: Line) -> Text:
    found = Text(no_wrap=True, overflow="crop")
    for text, style in line:
        found.append(text, style)
    return found
