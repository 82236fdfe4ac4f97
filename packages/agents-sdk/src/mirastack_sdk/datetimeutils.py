"""Instants in the format each backend wants.

The engine parses time expressions and sends epoch milliseconds; an agent only formats them.  Every function
here takes and keeps whole milliseconds, and everything below the wanted precision is dropped towards the
past, so an instant before 1970 behaves like any other.

Units: milliseconds since 1970-01-01T00:00:00Z, negative before.
Source: plugin protocol, section 19.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

__all__ = [
    "format_custom",
    "format_date",
    "format_datetime",
    "format_epoch_micros",
    "format_epoch_millis",
    "format_epoch_nanos",
    "format_epoch_seconds",
    "format_in_timezone",
    "format_lookback_millis",
    "format_rfc3339",
    "format_rfc3339_nano",
    "from_datetime",
    "now_utc_ms",
    "to_datetime",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def now_utc_ms() -> int:
    """The present instant."""
    return time.time_ns() // 1_000_000


def to_datetime(epoch_ms: int) -> datetime:
    """The instant as an aware datetime in UTC.  Raises: OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def from_datetime(moment: datetime) -> int:
    """The instant of `moment`; a naive datetime counts as local time."""
    return (moment.astimezone(UTC) - _EPOCH) // _MILLISECOND


def format_epoch_seconds(epoch_ms: int) -> str:
    """Seconds with exactly three decimals: "1775088045.678" (Prometheus, VictoriaMetrics)."""
    sign = "-" if epoch_ms < 0 else ""
    seconds, millis = divmod(abs(epoch_ms), 1000)
    return f"{sign}{seconds}.{millis:03d}"


def format_epoch_millis(epoch_ms: int) -> str:
    """Milliseconds (Jaeger, Zipkin)."""
    return str(epoch_ms)


def format_epoch_micros(epoch_ms: int) -> str:
    """Microseconds (VictoriaTraces)."""
    return str(epoch_ms * 1_000)


def format_epoch_nanos(epoch_ms: int) -> str:
    """Nanoseconds (Loki, OpenTelemetry)."""
    return str(epoch_ms * 1_000_000)


def format_rfc3339(epoch_ms: int) -> str:
    """RFC 3339 in UTC, whole seconds: "2026-04-02T00:00:45Z" (VictoriaLogs)."""
    return to_datetime(epoch_ms).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def format_rfc3339_nano(epoch_ms: int) -> str:
    """RFC 3339 in UTC with exactly three decimals: "2026-04-02T00:00:45.678Z"."""
    return to_datetime(epoch_ms).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def format_date(epoch_ms: int) -> str:
    """The day in UTC: "2026-04-02"."""
    return to_datetime(epoch_ms).date().isoformat()


def format_datetime(epoch_ms: int) -> str:
    """Day and time in UTC: "2026-04-02 00:00:45"."""
    return to_datetime(epoch_ms).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def format_custom(epoch_ms: int, layout: str) -> str:
    """The instant in UTC through a strftime `layout`."""
    return to_datetime(epoch_ms).strftime(layout)


def format_in_timezone(epoch_ms: int, timezone: str) -> str:
    """RFC 3339 with the offset of an IANA `timezone`: "2026-04-02T05:30:45+05:30".

    Raises: ZoneInfoNotFoundError (a KeyError) for an unknown name, ValueError for an empty one.
    """
    if not timezone:
        raise ValueError('timezone must not be empty; give an IANA name such as "Asia/Kolkata" or "UTC"')
    return to_datetime(epoch_ms).astimezone(ZoneInfo(timezone)).isoformat(timespec="seconds")


def format_lookback_millis(start_epoch_ms: int, end_epoch_ms: int) -> str:
    """The length of a range: end minus start, negative when they are swapped."""
    return str(end_epoch_ms - start_epoch_ms)
