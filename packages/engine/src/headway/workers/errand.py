"""One turn of one agent, as a worker is told of it: the four files.  Pure.

Source: bundle contract, sections 5 and 11.1.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache

import msgspec
from headway_wire.manifest import Executor, Node

from headway.core.events import Message
from headway.core.plan import Json
from headway.ports import Delivery

INPUT_FILE = "mirror_neuron_input.json"
MESSAGE_FILE = "mirror_neuron_message.json"
BODY_FILE = "mirror_neuron_body.bin"
CONTEXT_FILE = "mirror_neuron_context.json"

LEDGER_HEADERS = "mn.workflow."
RUNTIME = "runtime"
"""Who messages come from that no agent sent."""

TOLD = (
    "run_id",
    "step_id",
    "attempt_id",
    "attempt",
    "deadline_at",
    "heartbeat_deadline_at",
    "idempotency_key",
    "graph_revision",
    "template_id",
    "region_id",
)
"""What workers hear about their step, as headers, in the context, and in their environment."""

_IN_CONTEXT = frozenset(TOLD[:7])
_HEADER_OF = tuple((name, LEDGER_HEADERS + name) for name in TOLD)
_encode = msgspec.json.Encoder().encode


def moment(at_ms: int) -> str:
    """A moment as text, RFC 3339 in UTC."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S}"


@dataclass(slots=False)
class Errand:
    """A delivery with the node that it is for.  now_ms: when it was taken.

    message: the message that the turn is about; for a call, one that holds its arguments.
    told: what the ledger says about the step, by the names of `TOLD`; empty outside of ledgers.
    """

    delivery: Delivery
    node: Node
    executor: Executor
    now_ms: int
    message: Message = field(init=False)
    told: dict[str, Json] = field(init=False)

    def __post_init__(self) -> None:
        self.message = self.delivery.message or self._call()
        self.told = self._told()

    @property
    def id(self) -> str:
        """The attempt's id."""
        return self.delivery.id

    @property
    def agent(self) -> str:
        """The agent's id."""
        return self.node.id

    @property
    def is_call(self) -> bool:
        """Whether it is a call of a dataflow, which is about no message and whose answer is its value."""
        return self.delivery.message is None

    def _call(self) -> Message:
        params = self.delivery.call.params
        body = {"args": params.get("args", []), "kwargs": params.get("kwargs", {})}
        return Message(self.delivery.id, "call", body, meta={"class": "command"})

    def _told(self) -> dict[str, Json]:
        given = dict(self.delivery.ledger or {})
        for name in ("deadline", "heartbeat_deadline"):
            if at_ms := given.pop(f"{name}_ms", 0):
                given[f"{name}_at"] = moment(at_ms)
        headers = self.message.meta.get("headers") or {}
        for name, header in _HEADER_OF:
            if name not in given and (value := headers.get(header)) is not None:
                given[name] = value
        return {name: given[name] for name in TOLD if given.get(name) is not None} if given else {}

    @property
    def allocation(self) -> Mapping[str, Json]:
        """What the agent was given of the machine."""
        given = self.delivery.call.params.get("allocation")
        return given if isinstance(given, dict) else {}

    @property
    def content_type(self) -> str:
        return str(self.message.meta.get("content_type") or "application/json")

    @property
    def content_encoding(self) -> str:
        return str(self.message.meta.get("content_encoding") or "identity")

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The four files by name.

        A body of bytes is in the body file as it is, and elsewhere an object with `body_base64`.
        Raises: ValueError or TypeError when the message is no JSON.
        """
        message, meta = self.message, self.message.meta
        encoded = meta.get("body_base64")
        body: Json = message.body
        if isinstance(encoded, str):
            body = {"body_base64": encoded}
            try:
                raw = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                raw = encoded.encode()
            input = _encode(body)
        else:
            raw = input = _encode(body)
        whole = {
            "envelope": self._envelope(),
            "headers": self._headers(),
            "body": body,
            "artifacts": meta.get("artifacts") or [],
            "stream": meta.get("stream"),
        }
        return {
            INPUT_FILE: input,
            MESSAGE_FILE: _encode(whole),
            BODY_FILE: raw,
            CONTEXT_FILE: _encode(self._context()),
        }

    @property
    def _timestamp(self) -> str:
        return moment(self.now_ms)

    def _envelope(self) -> dict[str, Json]:
        message, meta = self.message, self.message.meta
        envelope = {
            "spec_version": "mn-msg/1",
            "message_id": message.id,
            "job_id": self.delivery.run,
            "from": message.source or RUNTIME,
            "to": self.agent,
            "type": message.type,
            "class": meta.get("class") or "event",
            "timestamp": self._timestamp,
            "attempt": self.delivery.attempt,
            "priority": 100,
            "content_type": self.content_type,
            "content_encoding": self.content_encoding,
        }
        for name in ("correlation_id", "causation_id"):
            if (value := meta.get(name)) is not None:
                envelope[name] = value
        return envelope

    def _headers(self) -> dict[str, Json]:
        headers: dict[str, Json] = self.message.meta.get("headers") or {}
        return headers | {LEDGER_HEADERS + name: value for name, value in self.told.items()}

    def _context(self) -> dict[str, Json]:
        return {
            "job_id": self.delivery.run,
            "agent_id": self.agent,
            "agent_type": self.node.agent_type,
            "template_type": self.node.type,
            "agent_state": {} if self.delivery.memory is None else self.delivery.memory,
            "workflow": {name: value for name, value in self.told.items() if name in _IN_CONTEXT},
            "timestamp": self._timestamp,
        }
