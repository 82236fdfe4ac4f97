"""Results as text: tables for people, JSON and YAML for programs, and times as people say them.

What an engine sends is shown, never obeyed: characters that would steer a terminal are made visible.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

_BY_COLOUR = {
    "green": "completed succeeded successful healthy approved active ok passing passed submitted complete "
             "migrated recovered resumed",
    "cyan": "running busy queued ready ending scheduled validated waiting",
    "yellow": "waiting_approval gated pending paused partial stale blocked warning draining maintenance "
              "dry_run awaiting_promotion blocked_no_placement paused_for_review pressured deferred "
              "would_migrate cancellation_pending completed_with_failures",
    "magenta": "retry_wait unknown MODIFY",
    "red": "failed rejected timed_out unhealthy gone expired ADMIN error critical unavailable saturated",
    "bright_black": "cancelled skipped withdrawn revoked ignored deleted cleared version_recorded "
                    "window_closed",
}  # fmt: skip
COLOURS = {word: colour for colour, words in _BY_COLOUR.items() for word in words.split()}
"""By status, health, pressure or permission."""

GAP = "  "
LINE_MAX = 110
_BUNDLE = re.compile(r"(@bundle:[0-9a-f]{8})[0-9a-f]{56}")
ROOM_MIN = 6


def document(value: Any, format: str) -> str:
    """A value as JSON or YAML."""
    if format == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    return _yaml(value, flow=False)


def outline(value: Any) -> list[str]:
    """A value as indented lines, for reading: what is small stays on one line."""
    room = min(screen_width(), LINE_MAX)
    lines: list[str] = []
    # YAML ends a line behind the value that fills it, not before; so what goes too far is given less.
    for less in (0, 20, 40):
        lines = clean(_yaml(value, flow=None, room=max(room - less, ROOM_MIN))).splitlines()
        if all(len(line) <= room for line in lines):
            break
    return lines


def _yaml(value: Any, *, flow: bool | None, room: int = LINE_MAX) -> str:
    # Half of the time that a short command takes, so only for those who want it.
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(
        value, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=room
    )
    return str(text).removesuffix("...\n").rstrip("\n")


def line_of(value: Any) -> str:
    """A value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def clean(text: str) -> str:
    """Text with every character that would not be seen, or would steer a terminal, made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def flat(value: Any) -> str:
    """A value on one line: text as it is, everything else as JSON."""
    if value is None or value == "":
        return "-"
    return clean(value if isinstance(value, str) else line_of(value)).replace("\n", " ")


def what_of(step: Mapping[str, Any]) -> str:
    """What a step does: plugin.action, the workflow it runs, or its kind.  A bundle's digest is shortened."""
    plugin = _BUNDLE.sub(r"\1", step["plugin"])
    return clean(".".join(part for part in (plugin, step["action"]) if part) or step["kind"])


def paint(status: str, text: str = "") -> str:
    """A status, or `text`, in the colour of the status."""
    shown = text or clean(status).replace("_", " ")
    colour = COLOURS.get(status)
    return click.style(shown, fg=colour) if colour else shown


def columns(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "none", loose: str = ""
) -> list[str]:
    """A table: headers and rows of cells, which may be styled.  The last column ends with the terminal.

    loose: the header of a column that gives way where the terminal is narrow.
    """
    cells = [list(row) for row in rows]
    if not cells:
        return [click.style(empty, fg="bright_black")]
    widths = [max(width(row[n]) for row in [list(headers), *cells]) for n in range(len(headers))]
    before = sum(widths[:-1]) + len(GAP) * (len(headers) - 1)
    if loose and (over := before + max(len(headers[-1]), ROOM_MIN) - screen_width()) > 0:
        at = headers.index(loose)
        left = max(widths[at] - over, len(loose))
        before, widths[at] = before - widths[at] + left, left
        cells = [[*row[:at], clip(row[at], left), *row[at + 1 :]] for row in cells]
    room = max(screen_width() - before, ROOM_MIN)
    shown = [*headers[:-1], clip(headers[-1], room)]
    lines = [_row([click.style(name, bold=True) for name in shown], widths)]
    return lines + [_row([*row[:-1], clip(row[-1], room)], widths) for row in cells]


def card(pairs: Iterable[tuple[str, str]], *, prose: str = "") -> list[str]:
    """Names and values, one a line; pairs without a value are left out.

    prose: the name of a text that may be broken between words; the rest stays whole, to be copied.
    """
    shown = [(name, value) for name, value in pairs if value]
    room = max((len(name) for name, _ in shown), default=0)
    indent = " " * (room + len(GAP))
    left = max(screen_width() - len(indent), ROOM_MIN)
    shown = [(name, _filled(value, left) if name == prose else value) for name, value in shown]
    return [
        click.style(name.ljust(room), bold=True) + GAP + value.replace("\n", "\n" + indent)
        for name, value in shown
    ]


def _filled(text: str, room: int) -> str:
    return "\n".join(textwrap.fill(line, room) for line in text.split("\n"))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (room - width(cell)) for cell, room in zip(cells, widths, strict=True)]
    return GAP.join(padded).rstrip()


def width(text: str) -> int:
    """How many columns of a terminal a text takes, styles left out."""
    plain = click.unstyle(text)
    return len(plain) if plain.isascii() else sum(map(_char_width, plain))


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, room: int) -> str:
    """A text that fits into `room` columns.  A styled one is left alone: statuses are short."""
    if width(text) <= room or "\x1b" in text:
        return text
    shown, left = [], room - 1
    for char in text:
        left -= _char_width(char)
        if left < 0:
            break
        shown.append(char)
    return "".join(shown) + "…"


def screen_width() -> int:
    """The width of the terminal; without one, wide enough for everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100_000


def now_ms() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def duration(ms: int) -> str:
    """A length of time: 840ms, 3.2s, 4m07s, 2h05m, 3d04h."""
    if ms < 1_000:
        return f"{max(ms, 0)}ms"
    if ms < 60_000:
        return f"{ms / 1_000:.1f}s"
    seconds = ms // 1_000
    if seconds < 3_600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    if seconds < 86_400:
        return f"{seconds // 3_600}h{seconds % 3_600 // 60:02d}m"
    return f"{seconds // 86_400}d{seconds % 86_400 // 3_600:02d}h"


def ago(ms: int) -> str:
    """A moment as people say it: 3m07s ago, or in 29m58s; - for never."""
    if not ms:
        return "-"
    since = (now_ms() - ms) // 1_000 * 1_000
    if since < 0:
        return f"in {duration(-since)}"
    return "now" if since == 0 else f"{duration(since).replace('.0s', 's')} ago"


def moment(ms: int) -> str:
    """A moment in local time; empty for never."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1_000)) if ms else ""
