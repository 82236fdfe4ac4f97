"""YAML as a tree of nodes that know their lines.

The tree is built from parser events and not by a YAML loader: so every node keeps its place, a key that
stands twice is seen, nesting and aliases have bounds, and no tag can name a Python type.  Plain words mean
what YAML 1.2 says: only ``true`` and ``false`` are booleans, a date is a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from headway.core.plan import Json
from headway.runbooks.cel import INTEGER_MAX, INTEGER_MIN
from headway.runbooks.findings import Findings, Place

FILE_BYTES_MAX = 256 * 1024
NODES_MAX = 20_000
DEPTH_MAX = 50

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")


@dataclass(frozen=True, slots=True)
class Node:
    """A mapping of texts to nodes, a list of nodes, or a plain value.

    key: where the node's key stands, when it lies in a mapping.
    literal: the text was written as a block (``|``), so that its lines are lines of the file.
    """

    value: dict[str, Node] | list[Node] | str | int | float | bool | None
    place: Place
    key: Place | None = None
    literal: bool = False

    def plain(self) -> Json:
        """The node as JSON."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def line_of(self, offset: int) -> Place:
        """Where the character at `offset` of a text stands: exact for blocks, else where the text begins."""
        if not self.literal or not isinstance(self.value, str):
            return self.place
        lines = 1 + self.value.count("\n", 0, offset)
        return Place(self.place.line + lines, 0, self.place.path)


def kind_of(node: Node) -> str:
    """What a node is, in words."""
    match node.value:
        case None:
            return "nothing"
        case bool():
            return "true" if node.value else "false"
        case int() | float():
            return f"the number {node.value}"
        case str():
            return f"'{node.value}'" if len(node.value) <= 40 else f"'{node.value[:37]}...'"
        case list():
            return "a list"
        case dict():
            return "a mapping"


def read(source: bytes | str, findings: Findings) -> Node | None:
    """The document, or None when it is no YAML; what is wrong is added to `findings`."""
    text = _decoded(source, findings)
    if text is None:
        return None
    composer = _Composer(findings)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if not composer.take(event):
                return None
    except yaml.MarkedYAMLError as error:
        findings.add(_marked(error), f"this is not YAML: {error.problem or error}", _hint(text, error))
        return None
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        findings.add(Place(text.count("\n", 0, position) + 1), "a control character cannot stand in YAML")
        return None
    if composer.root is None:
        findings.add(Place(1, 1), "the file is empty", "a runbook begins with 'name:' and 'steps:'")
    return composer.root


def _decoded(source: bytes | str, findings: Findings) -> str | None:
    try:
        raw = source if isinstance(source, bytes) else source.encode()
        text = raw.decode("utf-8-sig")
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        before = source[:start]
        line = (before.count(b"\n") if isinstance(before, bytes) else before.count("\n")) + 1
        findings.add(Place(line), "the file is not UTF-8", "save it with the encoding UTF-8")
        return None
    if len(raw) > FILE_BYTES_MAX:
        findings.add(Place(), f"a runbook has at most {FILE_BYTES_MAX} bytes, this file has {len(raw)}")
        return None
    return text


def _marked(error: yaml.MarkedYAMLError) -> Place:
    mark = error.problem_mark or error.context_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1)


def _hint(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces, not with tabs"
    if "{{" in line:
        return "put a text with {{ ... }} in quotes"
    if "mapping values" in (error.problem or ""):
        return "put a text that contains ': ' in quotes"
    return ""


# From events to nodes -----------------------------------------------------------------------------

_INTEGER = re.compile(r"[-+]?[0-9]{1,25}|0x[0-9a-fA-F]{1,16}|0o[0-7]{1,22}", re.ASCII)
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?", re.ASCII)
_WORDS: dict[str, Json] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}


def _scalar(text: str) -> Json:
    """What a plain scalar means.  Source: YAML 1.2, section 10.3, "Core Schema", without .inf and .nan."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        number = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        return number if INTEGER_MIN <= number <= INTEGER_MAX else text
    if _FRACTION.fullmatch(text) and len(text) <= 400:
        fraction = float(text)
        return fraction if abs(fraction) != float("inf") else text
    return text


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been read.  `key` is the key that waits for its value."""

    value: dict[str, Node] | list[Node]
    place: Place
    own_key: Place | None
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None
    skip: bool = False


class _Composer:
    """Puts events together; `root` is the document once all have been taken."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.root: Node | None = None
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.count = 0
        self.documents = 0

    def take(self, event: Any) -> bool:
        """Take one event; False when there is no point in going on."""
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1, self.path())
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self.findings.add(
                        place, "a file holds one document", "put the second one in its own file"
                    )
                return self.documents == 1
            case yaml.ScalarEvent() if self.wants_key():
                return self.take_key(event, place)
            case yaml.ScalarEvent():
                self.check_tag(event, place)
                quoted = not event.implicit[0] or event.tag in _TEXT_TAGS
                value = event.value if quoted else _scalar(event.value)
                return self.add(Node(value, place, self.key_place(), event.style == "|"), event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                return self.begin(event, place)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self.open.pop()
                return done.skip or self.add(Node(done.value, done.place, done.own_key), done.anchor)
            case yaml.AliasEvent():
                return self.alias(event, place)
            case _:
                return True

    def begin(self, event: Any, place: Place) -> bool:
        if len(self.open) >= DEPTH_MAX:
            self.findings.add(place, f"values are nested more than {DEPTH_MAX} deep")
            return False
        self.check_tag(event, place)
        skip = self.wants_key()
        if skip:
            self.findings.add(place, "a key is a text", "put a text with {{ ... }} in quotes")
            # The value of this odd key is read and dropped.
            self.open[-1].key, self.open[-1].key_place = "", None
        value: dict[str, Node] | list[Node] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.open.append(_Open(value, place, self.key_place(), event.anchor, skip=skip))
        return True

    def take_key(self, event: Any, place: Place) -> bool:
        holder = self.open[-1]
        assert isinstance(holder.value, dict)
        name = event.value
        first = holder.value.get(name)
        if first is not None:
            line = first.key.line if first.key else first.place.line
            self.findings.add(place, f"'{name}' stands twice here", f"first in line {line}; keep one of them")
        elif name == "<<":
            self.findings.add(place, "merge keys are not supported", "write the keys out")
        holder.key = name
        holder.key_place = Place(place.line, place.column, self.path())
        return True

    def alias(self, event: Any, place: Place) -> bool:
        if event.anchor not in self.anchors:
            self.findings.add(place, f"there is no anchor '{event.anchor}' above this line")
            return False
        node = self.anchors[event.anchor]
        if self.wants_key():
            self.findings.add(place, "a key is a text", "write the key out")
            return False
        size, depth = _extent(node)
        self.count += size
        if len(self.open) + depth > DEPTH_MAX:
            self.findings.add(place, f"values are nested more than {DEPTH_MAX} deep, aliases included")
            return False
        return self.add(Node(node.value, place, self.key_place(), node.literal), None)

    def add(self, node: Node, anchor: str | None) -> bool:
        self.count += 1
        if self.count > NODES_MAX:
            self.findings.add(node.place, f"the file has more than {NODES_MAX} values, aliases included")
            return False
        if anchor:
            self.anchors[anchor] = node
        if not self.open:
            self.root = node
            return True
        holder = self.open[-1]
        if isinstance(holder.value, list):
            holder.value.append(node)
        elif holder.key is not None:
            if holder.key_place is not None:
                holder.value.setdefault(holder.key, node)
            holder.key = holder.key_place = None
        return True

    def wants_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].value, dict) and self.open[-1].key is None

    def key_place(self) -> Place | None:
        return self.open[-1].key_place if self.open else None

    def check_tag(self, event: Any, place: Place) -> None:
        if event.tag and event.tag not in _TEXT_TAGS:
            self.findings.add(place, f"the tag '{event.tag}' is not supported", "leave it out")

    def path(self) -> str:
        """The way to the value that comes next, as ``steps[2].params``."""
        parts: list[str] = []
        for holder in self.open:
            if isinstance(holder.value, list):
                parts.append(f"[{len(holder.value)}]")
            elif holder.key is not None:
                parts.append(f".{holder.key}")
        return "".join(parts).lstrip(".")


def _extent(node: Node) -> tuple[int, int]:
    """How many nodes there are in a node, itself included, and how deep they lie."""
    match node.value:
        case dict():
            parts = [_extent(child) for child in node.value.values()]
        case list():
            parts = [_extent(child) for child in node.value]
        case _:
            parts = []
    return 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
