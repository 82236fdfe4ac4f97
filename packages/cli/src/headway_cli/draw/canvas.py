"""A grid of characters with styles, on which lines join where they meet."""

from __future__ import annotations

from dataclasses import dataclass, field

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8

_LINES = {
    UP: "│", DOWN: "│", UP | DOWN: "│",
    LEFT: "─", RIGHT: "─", LEFT | RIGHT: "─",
    DOWN | RIGHT: "╭", DOWN | LEFT: "╮", UP | RIGHT: "╰", UP | LEFT: "╯",
    UP | DOWN | RIGHT: "├", UP | DOWN | LEFT: "┤", DOWN | LEFT | RIGHT: "┬", UP | LEFT | RIGHT: "┴",
    UP | DOWN | LEFT | RIGHT: "┼",
}  # fmt: skip

Span = tuple[str, str]
"""A text and its style, as rich names styles; "" is plain."""

Line = list[Span]


@dataclass(slots=True)
class Canvas:
    """Cells by (row, column).  Lines are kept as directions, so that crossing ones join; text covers them."""

    lines: dict[tuple[int, int], int] = field(default_factory=dict)
    styles: dict[tuple[int, int], str] = field(default_factory=dict)
    texts: dict[tuple[int, int], str] = field(default_factory=dict)

    def line(self, row: int, column: int, directions: int, style: str = "") -> None:
        """Let lines leave a cell in some directions, beside those that do already."""
        at = row, column
        self.lines[at] = self.lines.get(at, 0) | directions
        self.styles[at] = style

    def horizontal(self, row: int, first: int, last: int, style: str = "") -> None:
        """A line from the middle of one cell to the middle of another, in one row."""
        first, last = min(first, last), max(first, last)
        for column in range(first, last + 1):
            directions = (LEFT if column > first else 0) | (RIGHT if column < last else 0)
            if directions:
                self.line(row, column, directions, style)

    def vertical(self, column: int, first: int, last: int, style: str = "") -> None:
        """A line from the middle of one cell to the middle of another, in one column."""
        first, last = min(first, last), max(first, last)
        for row in range(first, last + 1):
            directions = (UP if row > first else 0) | (DOWN if row < last else 0)
            if directions:
                self.line(row, column, directions, style)

    def text(self, row: int, column: int, text: str, style: str = "") -> None:
        """Write over whatever is there.  Each character takes one cell."""
        for offset, char in enumerate(text):
            self.texts[row, column + offset] = char
            self.styles[row, column + offset] = style

    def rendered(self) -> list[Line]:
        """The rows from 0 to the lowest that is used, without blanks at their ends."""
        used = self.lines.keys() | self.texts.keys()
        if not used:
            return []
        ends: dict[int, int] = {}
        for row, column in used:
            ends[row] = max(ends.get(row, -1), column)
        return [self._row(row, ends.get(row, -1)) for row in range(max(ends) + 1)]

    def _row(self, row: int, end: int) -> Line:
        spans: Line = []
        for column in range(end + 1):
            at = row, column
            char = self.texts.get(at) or _LINES.get(self.lines.get(at, 0), " ")
            style = self.styles.get(at, "")
            if spans and spans[-1][1] == style:
                spans[-1] = (spans[-1][0] + char, style)
            else:
                spans.append((char, style))
        return spans


def plain(lines: list[Line]) -> str:
    """The text of some lines, without styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
