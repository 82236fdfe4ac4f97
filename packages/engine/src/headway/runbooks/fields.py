"""Reading the values of a runbook's keys: each function gives a value, or notes what is wrong and gives none.

By hand over the nodes of the document, because every mistake is to be told with its line, its neighbours
and a likely cure, and all of them at once; docs/decisions/0011-runbook-validation.md has the comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum
from typing import TypeVar

from headway.runbooks import durations
from headway.runbooks.document import Node, kind_of
from headway.runbooks.findings import Findings, one_of, suggestion

E = TypeVar("E", bound=Enum)

TEXT_CHARS_MAX = 100_000


def mapping(node: Node | None, findings: Findings, *, what: str) -> dict[str, Node]:
    """The entries of a mapping; none when it is absent, empty or something else."""
    if node is None or node.value is None:
        return {}
    if isinstance(node.value, dict):
        return node.value
    findings.add(
        node.place,
        f"{what} is a mapping, not {kind_of(node)}",
        f"write '{_last(node)}:' and indent 'key: value' lines below",
    )
    return {}


def known_keys(entries: dict[str, Node], known: Collection[str], findings: Findings, *, what: str) -> None:
    """Note every key that is not one of `known`."""
    for name, node in entries.items():
        if name not in known:
            split = node.value is None and " " in name
            hint = "put a text that contains ', ' in quotes" if split else suggestion(name, known)
            findings.add(node.key or node.place, f"{what} has no key '{name}'", hint)


def lacks(entries: dict[str, Node], key: str, known: Collection[str]) -> bool:
    """Whether a key is missing, and not merely misspelt: an unknown key that looks like it is told about."""
    odd = [name for name in entries if name not in known]
    return key not in entries and not any(suggestion(name, known) == f"did you mean '{key}'?" for name in odd)


def listing(node: Node | None, findings: Findings, *, what: str) -> list[Node]:
    """The items of a list; none when it is absent, empty or something else."""
    if node is None or node.value is None:
        return []
    if isinstance(node.value, list):
        return node.value
    findings.add(node.place, f"{what} is a list, not {kind_of(node)}", "begin each item with '- '")
    return []


def text(node: Node | None, findings: Findings, *, what: str, default: str = "") -> str:
    """A text; a number or boolean counts as the text it was written with, so that ``name: 1`` is refused."""
    if node is None:
        return default
    if not isinstance(node.value, str) or not node.value.strip():
        hint = "put it in quotes" if isinstance(node.value, int | float) else ""
        findings.add(node.place, f"{what} is a text, not {kind_of(node)}", hint)
        return default
    if len(node.value) > TEXT_CHARS_MAX:
        findings.add(node.place, f"{what} has at most {TEXT_CHARS_MAX} characters, not {len(node.value)}")
        return default
    return node.value


def whole(node: Node | None, findings: Findings, *, what: str, least: int, most: int, default: int) -> int:
    """A whole number within bounds."""
    if node is None:
        return default
    if isinstance(node.value, bool) or not isinstance(node.value, int) or not least <= node.value <= most:
        findings.add(node.place, f"{what} is a whole number from {least} to {most}, not {kind_of(node)}")
        return default
    return node.value


def number(
    node: Node | None, findings: Findings, *, what: str, least: float, most: float, default: float
) -> float:
    """A number within bounds."""
    if node is None:
        return default
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        findings.add(node.place, f"{what} is a number from {least:g} to {most:g}, not {kind_of(node)}")
        return default
    return float(value)


def boolean(node: Node | None, findings: Findings, *, what: str, default: bool) -> bool:
    """True or false."""
    if node is None:
        return default
    if not isinstance(node.value, bool):
        findings.add(node.place, f"{what} is true or false, not {kind_of(node)}")
        return default
    return node.value


def duration(node: Node | None, findings: Findings, *, what: str, default: int, least: int = 1) -> int:
    """A duration in milliseconds."""
    if node is None:
        return default
    found = durations.duration_ms(node.value) if isinstance(node.value, str) else None
    if found is None or found < least:
        unit = (
            f"a number needs its unit: {node.value}s or {node.value}ms" if isinstance(node.value, int) else ""
        )
        findings.add(node.place, f"{what} is {durations.EXPECTED}, not {kind_of(node)}", unit)
        return default
    return found


def choice(node: Node | None, among: dict[str, E], findings: Findings, *, what: str, default: E) -> E:
    """One of several words."""
    if node is None:
        return default
    if isinstance(node.value, str) and node.value in among:
        return among[node.value]
    name = node.value if isinstance(node.value, str) else ""
    hint = suggestion(name, among) if name else ""
    findings.add(
        node.place, f"{what} is {one_of(among)}, not {kind_of(node)}", hint if "mean" in hint else ""
    )
    return default


def names(node: Node | None, findings: Findings, *, what: str) -> list[Node]:
    """A list of texts; a single text counts as a list of one."""
    if node is None:
        return []
    items: Iterable[Node] = [node] if isinstance(node.value, str) else listing(node, findings, what=what)
    found = []
    for item in items:
        if isinstance(item.value, str) and item.value:
            found.append(item)
        else:
            findings.add(item.place, f"{what} names steps, {kind_of(item)} is no name")
    return found


def _last(node: Node) -> str:
    return node.place.path.rpartition(".")[2] or "name"
