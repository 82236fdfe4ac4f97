"""Beacons: what the runtime and the worker say about one attempt while it goes on.  Pure.

Source: bundle contract, section 11.7.
"""

from __future__ import annotations

import msgspec

from headway.core.plan import Json
from headway.workers.errand import Errand

KIND = "agent_beacon"
MISSED_KIND = "agent_beacon_missed"
SCHEMA = "mn.agent.beacon.v1"
STATUSES = frozenset({"started", "working", "completed", "missed"})
MESSAGE_CHARS_MAX = 2_000
INTERVAL_MS_MIN = 1_000
"""The journal takes no more beacons than this of an attempt's runtime, whatever its node asks for."""


class Beacons:
    """Makes the beacons of one attempt, each a payload of an event."""

    def __init__(self, errand: Errand, *, began_ms: int) -> None:
        self._errand, self._began_ms = errand, began_ms
        self._heard_ms = began_ms
        self._sequence = {"runtime": 0, "agent": 0}

    @property
    def interval_ms(self) -> int:
        """Between two beacons of the runtime."""
        return max(self._errand.executor.beacon.interval_ms, INTERVAL_MS_MIN)

    def runtime(self, status: str, *, now_ms: int) -> dict[str, Json]:
        """What the runtime says."""
        return self._beacon("runtime", status, "", now_ms)

    def agent(self, line: bytes, *, now_ms: int) -> dict[str, Json]:
        """What the worker says, in what followed the prefix of a line.  Even nonsense is a sign of life."""
        self._heard_ms = now_ms
        try:
            given = msgspec.json.decode(line, type=dict[str, Json])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            given = {}
        status = given.get("status")
        known = status if isinstance(status, str) and status in STATUSES else "working"
        made = self._beacon("agent", known, str(given.get("message") or "")[:MESSAGE_CHARS_MAX], now_ms)
        sequence = given.get("sequence")
        if isinstance(sequence, int) and not isinstance(sequence, bool):
            made["sequence"] = sequence
        return {**given, **made}

    @property
    def fails_attempt(self) -> bool:
        """Whether a worker that is silent for too long is ended."""
        return self._errand.executor.beacon.missed_action == "fail_attempt"

    def missed_at_ms(self) -> int:
        """When the worker will have been silent for too long, or 0 when it need not speak."""
        beacon = self._errand.executor.beacon
        return self._heard_ms + beacon.timeout_ms if beacon.enabled and beacon.required else 0

    def _beacon(self, source: str, status: str, message: str, now_ms: int) -> dict[str, Json]:
        errand, beacon = self._errand, self._errand.executor.beacon
        self._sequence[source] += 1
        return {
            "schema": SCHEMA,
            "job_id": errand.delivery.run,
            "agent_id": errand.agent,
            "step": errand.told.get("step_id"),
            "attempt": errand.told.get("attempt", errand.delivery.attempt),
            "source": source,
            "status": status,
            "sequence": self._sequence[source],
            "message": message,
            "interval_ms": beacon.interval_ms,
            "timeout_ms": beacon.timeout_ms,
            "elapsed_ms": now_ms - self._began_ms,
        }
