"""How the events of entries, and folded runs, are written: plain JSON, so that any tool can read the journal.

A body that goes to many is written once: what comes later says with the number of which earlier one it shares
body and `meta`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from headway.core import events as e
from headway.core import run as r
from headway.core.events import Event, Message
from headway.core.evolve import evolve
from headway.core.plan import Plan
from headway.core.run import Run
from headway.service.codec import plan_from_json, plan_to_json

_EVENTS: dict[str, type] = {cls.__name__: cls for cls in Event.__args__}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(cls) for name, cls in _EVENTS.items()
}
_STATES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        r.Ready,
        r.AtGate,
        r.Granted,
        r.Delayed,
        r.Running,
        r.Unknown,
        r.Spread,
        r.Idle,
        r.Listening,
        r.Final,
    )
}
_PLAIN = [
    "id",
    "tenant",
    "workflow",
    "plan_digest",
    "requester",
    "mode",
    "inputs",
    "parent",
    "depth",
    "submitted_ms",
    "deadline_ms",
    "length",
    "phase",
    "paused_by",
    "active",
    "items",
    "memory",
    "decided",
    "answers",
    "in_use",
    "gate_count",
    "ignored_count",
    "left",
    "rejections",
    "at_work",
    "taken",
    "waiting",
    "restarts",
    "revision",
    "patches",
    "grafted",
]

_encoder = msgspec.json.Encoder()


class _Line(msgspec.Struct, array_like=True):
    """One event.  like: the place of the event in the entry whose body its message shares."""

    kind: str
    fields: msgspec.Raw
    like: int | None = None


_lines = msgspec.json.Decoder(list[_Line])
_CARRYING = (e.Delivered, e.Held, e.Dropped)


def encode_events(events: Iterable[Event]) -> bytes:
    """JSON text: an array of ``[kind, fields]``, or ``[kind, fields, like]``."""
    lines: list[tuple[object, ...]] = []
    firsts: dict[tuple[int, int], int] = {}
    for event in events:
        kind = type(event).__name__
        if isinstance(event, _CARRYING):
            message = event.message
            like = firsts.setdefault((id(message.body), id(message.meta)), len(lines))
            if like < len(lines):
                bare = Message(message.id, message.type, source=message.source)
                lines.append((kind, replace(event, message=bare), like))
                continue
        lines.append((kind, event))
    return _encoder.encode(lines)


def decode_events(text: bytes) -> list[Event]:
    """The events in a stored text.  Unknown fields are ignored; an unknown kind raises ValueError."""
    found: list[Event] = []
    for line in _lines.decode(text):
        event = _decoder(line.kind).decode(line.fields)
        if line.like is not None:
            first = found[line.like] if 0 <= line.like < len(found) else None
            if not isinstance(first, _CARRYING):
                raise ValueError(f"event {len(found)} shares a message with {line.like}, which has none")
            event = replace(event, message=_shared(event.message, first.message))
        found.append(event)
    return found


def _shared(message: Message, first: Message) -> Message:
    return Message(message.id, message.type, first.body, message.source, first.meta)


def _decoder(kind: str) -> msgspec.json.Decoder[Any]:
    found = _DECODERS.get(kind)
    if found is None:
        raise ValueError(
            f"the journal holds an event of the unknown kind '{kind}': was it written by a newer version?"
        )
    return found


class _Writing:
    """Writes the messages of a snapshot down, each body once."""

    def __init__(self) -> None:
        self._firsts: dict[tuple[int, int], int] = {}
        self._count = 0

    def write(self, message: Message) -> object:
        """What stands for this message."""
        place, self._count = self._count, self._count + 1
        like = self._firsts.setdefault((id(message.body), id(message.meta)), place)
        if like == place:
            return message
        return {"id": message.id, "type": message.type, "source": message.source, "like": like}


class _Reading:
    """Reads them, in the same order."""

    def __init__(self) -> None:
        self._found: list[Message] = []

    def read(self, raw: Any) -> Message:
        """The message behind what was written."""
        message = msgspec.convert(raw, Message)
        if "like" in raw:
            message = _shared(message, self._found[raw["like"]])
        self._found.append(message)
        return message


def encode_run(run: Run) -> bytes:
    """A snapshot: the whole folded state, without its plan unless the run has changed that."""
    write = _Writing().write
    return _encoder.encode(
        {name: getattr(run, name) for name in _PLAIN}
        | {
            "states": {step: (type(state).__name__, state) for step, state in run.states.items()},
            "tallies": run.tallies,
            "inbox": {step: list(map(write, messages)) for step, messages in run.inbox.items() if messages},
            "held": {step: list(map(write, messages)) for step, messages in run.held.items()},
            "blocked": run.blocked,
            "gates": run.gates,
            "ending": run.ending,
            "finished": run.finished,
            "heard": {step: write(message) for step, message in run.heard.items()},
            "windows": run.windows,
            "spans": run.spans,
            "answer": run.answer,
        }
        | ({"plan": plan_to_json(run.plan).decode()} if run.grafted else {})
    )


def decode_run(plan: Plan, text: bytes) -> Run:
    """The run behind a snapshot."""
    raw = msgspec.json.decode(text)
    if "plan" in raw:
        plan = plan_from_json(raw["plan"].encode())
    # What is not there was not known when the snapshot was written.
    run = Run(plan=plan, **{name: raw[name] for name in _PLAIN if name in raw})
    run.states = {
        step: msgspec.convert(state, _STATES[kind]) for step, (kind, state) in raw["states"].items()
    }
    run.tallies = {step: msgspec.convert(tally, r.Tally) for step, tally in raw["tallies"].items()}
    read = _Reading().read
    run.inbox = {step: deque(map(read, messages)) for step, messages in raw["inbox"].items()}
    run.held = {step: deque(map(read, messages)) for step, messages in raw.get("held", {}).items()}
    run.blocked = raw.get("blocked", {})
    run.gates = {id: msgspec.convert(gate, r.Gate) for id, gate in raw["gates"].items()}
    run.ending = msgspec.convert(raw["ending"], e.Ending | None)
    run.finished = msgspec.convert(raw["finished"], e.Finished | None)
    run.heard = {step: read(message) for step, message in raw.get("heard", {}).items()}
    run.windows = msgspec.convert(raw.get("windows", {}), dict[str, tuple[int, int]])
    run.spans = msgspec.convert(raw.get("spans", {}), dict[str, tuple[int, int]])
    run.answer = msgspec.convert(raw.get("answer"), e.Answered | None)
    return run


def fold(plan: Plan, snapshot: bytes | None, entries: Sequence[tuple[int, bytes]]) -> Run:
    """The run that a snapshot and the entries after it tell of."""
    run = decode_run(plan, snapshot) if snapshot else Run(plan=plan)
    for seq, text in entries:
        if seq != run.length:
            raise ValueError(f"run '{run.id}': the journal goes on at {seq} where {run.length} was expected")
        for event in decode_events(text):
            evolve(run, event)
    return run
