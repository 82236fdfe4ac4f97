"""How events and folded runs are written down: plain JSON, so that any tool can read the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
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
_lines = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])


def encode_events(events: Iterable[Event]) -> bytes:
    """JSON text: an array of ``[kind, fields]``."""
    return _encoder.encode([(type(event).__name__, event) for event in events])


def decode_events(text: bytes) -> list[Event]:
    """The events in a stored text.  Unknown fields are ignored; an unknown kind raises ValueError."""
    return [_decoder(kind).decode(fields) for kind, fields in _lines.decode(text)]


def _decoder(kind: str) -> msgspec.json.Decoder[Any]:
    found = _DECODERS.get(kind)
    if found is None:
        raise ValueError(
            f"the journal holds an event of the unknown kind '{kind}': was it written by a newer version?"
        )
    return found


def encode_run(run: Run) -> bytes:
    """A snapshot: the whole folded state, without its plan unless the run has changed that."""
    return _encoder.encode(
        {name: getattr(run, name) for name in _PLAIN}
        | {
            "states": {step: (type(state).__name__, state) for step, state in run.states.items()},
            "tallies": run.tallies,
            "inbox": {step: list(messages) for step, messages in run.inbox.items() if messages},
            "held": {step: list(messages) for step, messages in run.held.items()},
            "blocked": run.blocked,
            "gates": run.gates,
            "ending": run.ending,
            "finished": run.finished,
            "heard": run.heard,
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
    run.inbox = {
        step: deque(msgspec.convert(message, Message) for message in messages)
        for step, messages in raw["inbox"].items()
    }
    run.held = {
        step: deque(msgspec.convert(message, Message) for message in messages)
        for step, messages in raw.get("held", {}).items()
    }
    run.blocked = raw.get("blocked", {})
    run.gates = {id: msgspec.convert(gate, r.Gate) for id, gate in raw["gates"].items()}
    run.ending = msgspec.convert(raw["ending"], e.Ending | None)
    run.finished = msgspec.convert(raw["finished"], e.Finished | None)
    run.heard = msgspec.convert(raw.get("heard", {}), dict[str, Message])
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
