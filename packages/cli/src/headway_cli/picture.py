"""A picture on the terminal that changes as something goes on.  The only module that imports rich."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from headway_cli.app import App
from headway_cli.draw.canvas import Line
from headway_cli.draw.frame import frame
from headway_cli.draw.scene import Scene
from headway_cli.output import clean, now_ms

ROWS_LEFT = 1
"""Rows of the terminal that the picture leaves to the line below it."""


def drawn(app: App, scene: Scene, *, news: Callable[[], bool], enough: Callable[[], bool]) -> None:
    """Draw until there is no more to come or it is enough; the last picture stays.

    news: takes into the scene what has come, or waits for the length of a frame; False when there is no more.
    enough: asked after each frame.  Raises what they raise.
    """
    console = Console(no_color=app.colourless or None, highlight=False, soft_wrap=False)
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            going = True
            while going:
                going = news()
                live.update(_text(console, scene), refresh=True)
                if going and enough():
                    return
    except KeyboardInterrupt:
        if not scene.ended:
            click.echo(f"\nStopped watching; {clean(scene.id)} goes on.", err=True)
        raise


def _text(console: Console, scene: Scene) -> Text:
    lines = frame(scene, width=console.width, height=console.height - ROWS_LEFT, now_ms=now_ms())
    return Text("\n", no_wrap=True, overflow="crop").join(_line(line) for line in lines)


def _line(line: Line) -> Text:
    found = Text(no_wrap=True, overflow="crop")
    for text, style in line:
        found.append(text, style)
    return found
