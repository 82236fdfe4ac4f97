"""What plugins write to the audit log.  Old callers put things in the wrong fields: coerced, never refused.

Source: plugin protocol, section 14.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from headway.core.plan import Json
from headway.ports import Clock, Records

TYPE_CHARS_MAX = 200
DATA_BYTES_MAX = 64 * 1024
SEVERITIES = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class PluginEvent:
    """An entry for the audit log of a tenant."""

    tenant: str
    plugin: str
    type: str
    severity: str
    data: Json


Record = Callable[[PluginEvent], Awaitable[None]]
"""Writes an entry to the tenant's chain; durable when it returns."""


def coerced(tenant: str, plugin: str, event_type: Any, severity: Any, data: Json) -> PluginEvent:
    """The entry that a LogEvent means, whatever is in its fields.

    Readme-style calls on published wheels put the fields where the event's name belongs, and the name where
    the severity belongs.
    """
    if not isinstance(event_type, str):
        if event_type is not None:
            data = event_type if data is None else {"event": event_type, "data": data}
        event_type, severity = severity, ""
    name = event_type if isinstance(event_type, str) else msgspec.json.encode(event_type).decode()
    level = str(severity or "info").strip().lower()
    level = {"warn": "warning"}.get(level, level)
    if level not in SEVERITIES:
        data, level = {"severity": level[:TYPE_CHARS_MAX], "data": data}, "info"
    if len(raw := msgspec.json.encode(data)) > DATA_BYTES_MAX:
        data = {"truncated": True, "bytes": len(raw), "begins": raw[:1_000].decode(errors="replace")}
    return PluginEvent(tenant, plugin, name.strip()[:TYPE_CHARS_MAX] or "event", level, data)


def recorder(records: Records, clock: Clock) -> Record:
    """Keeps entries at ``/mirastack/{tenant}/audit/{event_id}``, whose ids sort by time."""

    async def keep(event: PluginEvent) -> None:
        now_ms = clock.now_ms()
        id = f"evt-{now_ms:013d}-{uuid.uuid4().hex[:12]}"
        body = {
            "id": id,
            "time": now_ms,
            "tenant_id": event.tenant,
            "domain": "workflow",
            "type": event.type,
            "actor": f"plugin:{event.plugin}",
            "severity": event.severity,
            "data": event.data,
        }
        await records.put(f"/mirastack/{event.tenant}/audit/{id}", msgspec.json.encode(body), now_ms=now_ms)

    return keep
