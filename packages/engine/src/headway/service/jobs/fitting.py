"""What of a job is shown when all of it would be too much.

Source: runtime API, section 3.2: long texts are cut, and the whole stays below about 1 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec

TEXT_CHARS_MAX = 8_192
LEVELS_MAX = 150
BYTES_MAX = 1_000_000
CUT = "... (cut)"
OMITTED_NAMED_MAX = 100

STAGES = (
    (TEXT_CHARS_MAX, None),
    (4_096, 2_000),
    (2_048, 1_000),
    (1_024, 500),
    (512, 250),
    (256, 120),
    (128, 60),
)
"""(characters of a text, entries of an array or object) that are shown; the first that fits is taken."""

AGENTS = ("error", "running", "busy", "queued", "paused", "ready")
STEPS = ("failed", "running", "retry_wait", "waiting", "queued", "ready", "blocked", "partial", "pending")
"""What is shown first of many, by its status."""

Record = dict[str, Any]
Place = tuple[Any, str | int]
"""The place around it, None for the outermost, and a name or number there."""


def fitted(answer: Record) -> Record:
    """The answer to GetJob with as much as fits; `omitted` counts what does not, by its place.

    Of the job's result only long texts are cut, and it does not count: it is to be had nowhere else.
    """
    result = _Cutting(TEXT_CHARS_MAX, None).cut(answer["job"].get("result"))
    rest = answer | {"job": answer["job"] | {"result": None}}
    for texts, entries in STAGES:
        shown = _Cutting(texts, entries).answer(rest)
        if len(msgspec.json.encode(shown)) <= BYTES_MAX:
            break
    shown["job"]["result"] = result
    return shown


class _Cutting:
    """Cuts to one stage.  omitted: how many entries were left out, by place."""

    def __init__(self, texts: int, entries: int | None) -> None:
        self._texts, self._entries = texts, entries
        self.omitted: dict[str, int] = {}

    def answer(self, answer: Record) -> Record:
        """The answer, cut to fit this stage."""
        if self._entries is not None:
            answer = self._chosen(answer)
        shown: Record = self.cut(answer)
        if self.omitted:
            shown["omitted"] = self.omitted
        return shown

    def _chosen(self, answer: Record) -> Record:
        """The same with fewer agents and steps: those that need a look, else the first ones."""
        job = dict(answer["job"])
        kept = self._first(answer["agents"], lambda agent: _rank(AGENTS, agent["status"]), "agents")
        names = {agent["agent_id"] for agent in kept}
        topology = job["topology"]
        nodes = [node for node in topology["nodes"] if node["node_id"] in names]
        edges = [one for one in topology["edges"] if one["from_node"] in names and one["to_node"] in names]
        for what, before, after in (("nodes", topology["nodes"], nodes), ("edges", topology["edges"], edges)):
            self._omit(f"job.topology.{what}", len(before) - len(after))
        job["topology"] = {"nodes": nodes, "edges": edges}
        if (ledger := job.get("workflow_state")) is not None:
            where = "job.workflow_state"
            steps = self._first(
                ledger["steps"].items(), lambda item: _rank(STEPS, item[1]["status"]), f"{where}.steps"
            )
            ids = {id for id, _ in steps}
            between = [one for one in ledger["edges"] if one["from"] in ids and one["to"] in ids]
            self._omit(f"{where}.edges", len(ledger["edges"]) - len(between))
            job["workflow_state"] = ledger | {
                "steps": dict(steps),
                "step_order": [id for id in ledger["step_order"] if id in ids],
                "agent_to_step": {a: id for a, id in ledger["agent_to_step"].items() if id in ids},
                "edges": between,
            }
        return answer | {"job": job, "agents": kept}

    def _first(self, entries: Iterable[Any], rank: Callable[[Any], int], where: str) -> list[Any]:
        """As many entries as are shown, those of the lowest rank, in their own order."""
        found = list(entries)
        places = sorted(range(len(found)), key=lambda place: rank(found[place]))[: self._entries]
        self._omit(where, len(found) - len(places))
        return [found[place] for place in sorted(places)]

    def _omit(self, where: str, count: int) -> None:
        if count and (where in self.omitted or len(self.omitted) < OMITTED_NAMED_MAX):
            self.omitted[where] = self.omitted.get(where, 0) + count

    def cut(self, value: Any, where: Place | None = None, levels: int = LEVELS_MAX) -> Any:
        """The same with long texts, many entries, and what is nested too deeply cut."""
        if isinstance(value, str):
            return value if len(value) <= self._texts else value[: self._texts] + CUT
        if not isinstance(value, dict | list):
            return value
        if not levels:
            return CUT
        shown = len(value)
        if self._entries is not None and shown > self._entries:
            shown = self._entries
            self._omit(_text(where), len(value) - shown)
        if isinstance(value, list):
            return [self.cut(part, (where, n), levels - 1) for n, part in enumerate(islice(value, shown))]
        items = islice(value.items(), shown)
        return {name: self.cut(part, (where, name), levels - 1) for name, part in items}


def _text(where: Place | None) -> str:
    """A place as it is written: ``job.scheduler.allocations``."""
    parts: list[str] = []
    while where is not None:
        where, name = where
        parts.append(f"[{name}]" if isinstance(name, int) else f".{name}")
    return "".join(reversed(parts)).removeprefix(".")


def _rank(order: tuple[str, ...], status: str) -> int:
    return order.index(status) if status in order else len(order)
