"""What a schedule may say, read and checked: every problem at once, in the contract's words.  Pure.

Source: runtime API, section 3.8; bundle contract, section 2.1 (`schedule`, `triggers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import msgspec
from headway_wire.codec import dumps
from headway_wire.errors import Invalid

from headway.core.plan import Json
from headway.runbooks.durations import DURATION_MS_MAX
from headway.service.launching import iso
from headway.service.schedules import cron as crontab
from headway.service.schedules.triggers import filter_problems

PERIODIC, DELAYED, EVENT = "periodic", "delayed", "event"
SKIP, CATCH_UP_ONE, CATCH_UP_ALL = "skip", "catchup_one", "catchup_all"
CANCEL, LET_GO_ON = "cancel", "none"

CRONS_MAX = 20
NAMES_MAX = 50
TEXT_CHARS_MAX = 200
CATCHUP_LIMIT_MAX = 100
OBJECT_BYTES_MAX = 64 * 1024
"""The JSON of a payload, of metadata, of a source."""

KEYS = {
    *("kind", "name", "cron", "crons", "timezone", "run_at", "delay_ms", "event_type", "filters", "trigger"),
    *("payload", "enabled", "prohibit_overlap", "allow_overlap", "missed_policy", "catchup_limit"),
    *("missed_grace_ms", "window", "parameterized", "metadata", "version", "description"),
}
"""Keys of a schedule.  Others are ignored, but for those that look like a slip of one of these."""


class Window(msgspec.Struct, frozen=True):
    """How long a run may take from its due time, and what is done at the end of that."""

    duration_ms: int
    end_action: str = LET_GO_ON


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schedule as asked for.  Units: milliseconds; `run_at_ms` since the epoch, 0 is no moment.

    payload: what a dispatch carries unless its trigger says otherwise.
    parameterized: a dispatch may carry the names of `required` and `optional` and no others.
    """

    kind: str
    name: str = ""
    crons: tuple[str, ...] = ()
    timezone: str = "UTC"
    run_at_ms: int = 0
    delay_ms: int = 0
    event_type: str = ""
    filters: dict[str, Any] = {}
    payload: dict[str, Any] = {}
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    parameterized: bool = False
    enabled: bool = True
    prohibit_overlap: bool = True
    missed_policy: str = SKIP
    catchup_limit: int = 10
    missed_grace_ms: int = 60_000
    window: Window | None = None
    metadata: dict[str, Any] = {}


def chosen(given: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule to read: the given one, else the manifest's, with the manifest's first trigger.

    Source: runtime API, section 3.8: "`{}` → use manifest key `schedule`; for event kind also the first
    entry of manifest `triggers`".
    """
    raw = dict(given or _object(manifest.get("schedule")))
    if manifest.get("parameterized"):
        raw.setdefault("parameterized", manifest["parameterized"])
    listed = manifest.get("triggers")
    first = _object(listed[0]) if isinstance(listed, list) and listed else {}
    if not first or (raw.keys() - {"parameterized"} and kind_of(raw) != EVENT):
        return raw
    if "event_type" in raw or "event_type" in _object(raw.get("trigger")):
        return raw
    outer: dict[str, Any] = {key: first[key] for key in ("name", "enabled") if key in first}
    return {"kind": EVENT, **outer, **raw, "trigger": {**first, **_object(raw.get("trigger"))}}


def changed(spec: Spec, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule to read after `attrs` were laid over it; what says the same in other words gives way."""
    before = shown(spec)
    trigger = _object(attrs.get("trigger"))
    for rivals in (("cron", "crons"), ("run_at", "delay_ms")):
        if not attrs.keys().isdisjoint(rivals):
            for name in rivals:
                before.pop(name, None)
    for name in ("event_type", "filters", "payload"):  # The trigger says these, too; the outer one wins.
        if name in trigger:
            before.pop(name, None)
    return {**before, **attrs, "trigger": {**_object(before.pop("trigger")), **trigger}}


def kind_of(raw: Mapping[str, Any]) -> str:
    """The kind that is named, or that follows from the other keys."""
    if raw.get("kind"):
        return str(raw["kind"])
    if raw.get("event_type") or raw.get("trigger"):
        return EVENT
    return DELAYED if raw.get("run_at") or raw.get("delay_ms") is not None else PERIODIC


def read(raw: Mapping[str, Any]) -> Spec:
    """The schedule that `raw` asks for.  Raises Invalid with everything that is wrong, joined by "; "."""
    reader = _Reader(raw)
    spec = reader.spec()
    if reader.problems:
        raise Invalid("; ".join(reader.problems), code="bad_schedule", problems=reader.problems)
    return spec


def shown(spec: Spec) -> dict[str, Json]:
    """The schedule in the keys of the contract, those that mean something for its kind."""
    said: dict[str, Json] = {"kind": spec.kind, "name": spec.name, "timezone": spec.timezone}
    trigger: dict[str, Json] = {"meta_required": list(spec.required), "meta_optional": list(spec.optional)}
    match spec.kind:
        case "periodic":
            said["crons"] = list(spec.crons)
            if len(spec.crons) == 1:
                said["cron"] = spec.crons[0]
        case "delayed" if spec.run_at_ms:
            said["run_at"] = iso(spec.run_at_ms)
        case "delayed":
            said["delay_ms"] = spec.delay_ms
        case _:
            event: dict[str, Json] = {"event_type": spec.event_type, "filters": dict(spec.filters)}
            said |= event
            trigger = event | {"payload": dict(spec.payload)} | trigger
    window = spec.window
    return said | {
        "trigger": trigger,
        "payload": dict(spec.payload),
        "enabled": spec.enabled,
        "prohibit_overlap": spec.prohibit_overlap,
        "missed_policy": spec.missed_policy,
        "catchup_limit": spec.catchup_limit,
        "missed_grace_ms": spec.missed_grace_ms,
        "window": {"duration_ms": window.duration_ms, "end_action": window.end_action} if window else None,
        "parameterized": spec.parameterized,
        "metadata": dict(spec.metadata),
    }


class _Reader:
    """Reads one schedule and collects what is wrong with it."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = {key: value for key, value in raw.items() if value is not None}
        self._trigger = _object(self._raw.get("trigger"))
        self.problems: list[str] = []

    def spec(self) -> Spec:
        self._check_names()
        kind = kind_of(self._raw)
        if kind not in (PERIODIC, DELAYED, EVENT):
            self.problems.append(f"unknown schedule kind {kind[:TEXT_CHARS_MAX]}")
        timezone = self._text("timezone") or "UTC"
        zone = crontab.zone_named(timezone)
        if zone is None:
            self.problems.append(f"unknown timezone {timezone}")
        crons = self._crons() if kind == PERIODIC else ()
        run_at_ms, delay_ms = self._delayed(zone) if kind == DELAYED else (0, 0)
        event_type = self._event_type() if kind == EVENT else ""
        filters = self._object_at("filters", self._raw.get("filters", self._trigger.get("filters")))
        self.problems += filter_problems(filters)
        required, optional = self._names("meta_required"), self._names("meta_optional")
        payload = self._payload(kind, required)
        return Spec(
            kind,
            self._text("name"),
            crons,
            timezone,
            run_at_ms,
            delay_ms,
            event_type,
            filters if kind == EVENT else {},
            payload,
            required,
            optional,
            self._parameterized(),
            self._flag("enabled", default=True),
            self._overlap(),
            self._choice("missed_policy", SKIP, (SKIP, CATCH_UP_ONE, CATCH_UP_ALL)),
            self._number("catchup_limit", 10, most=CATCHUP_LIMIT_MAX),
            self._number("missed_grace_ms", 60_000),
            self._window(),
            self._object_at("metadata", self._raw.get("metadata")),
        )

    def _check_names(self) -> None:
        for key in self._raw:
            meant = get_close_matches(key, KEYS, 1, 0.8) if key not in KEYS else []
            if meant:
                text = f"unknown schedule key {key[:TEXT_CHARS_MAX]}, did you mean {meant[0]}?"
                self.problems.append(text)

    def _crons(self) -> tuple[str, ...]:
        given = self._raw.get("crons", self._raw.get("cron"))
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or texts == [""]:
            self.problems.append("periodic schedules require cron or crons")
            return ()
        if len(texts) > CRONS_MAX:
            self.problems.append(f"crons has {len(texts)} expressions; at most {CRONS_MAX} are taken")
            return ()
        wrong = [text for text in texts if not isinstance(text, str) or crontab.parse(text) is None]
        self.problems += [f"invalid cron expression {str(text)[:TEXT_CHARS_MAX]}" for text in wrong]
        return tuple(str(text).strip() for text in texts)

    def _delayed(self, zone: Any) -> tuple[int, int]:
        run_at, delay_ms = self._raw.get("run_at"), self._raw.get("delay_ms")
        at_ms = _moment_ms(run_at, zone)
        if at_ms is not None:
            return at_ms, 0
        if run_at in (None, "") and isinstance(delay_ms, int) and _is_number(delay_ms, DURATION_MS_MAX):
            return 0, delay_ms
        self.problems.append("delayed schedules require a valid run_at or delay_ms")
        return 0, 0

    def _event_type(self) -> str:
        event_type = self._raw.get("event_type") or self._trigger.get("event_type")
        if not isinstance(event_type, str) or not event_type.strip():
            self.problems.append("event schedules require trigger.event_type")
            return ""
        return event_type.strip()[:TEXT_CHARS_MAX]

    def _payload(self, kind: str, required: tuple[str, ...]) -> dict[str, Any]:
        own = self._object_at("payload", self._raw.get("payload"))
        payload = {**self._object_at("trigger.payload", self._trigger.get("payload")), **own}
        missing = [name for name in required if payload.get(name) is None]
        if kind != EVENT and missing:
            self.problems.append(f"payload lacks {', '.join(missing)}, which meta_required names")
        return payload

    def _parameterized(self) -> bool:
        given = self._raw.get("parameterized", False)
        if not isinstance(given, bool | dict):
            self.problems.append("parameterized must be true, false or an object")
        return bool(given)

    def _names(self, key: str) -> tuple[str, ...]:
        places = (self._trigger, self._raw, _object(self._raw.get("parameterized")))
        listed: Any = next((place[key] for place in places if place.get(key) is not None), [])
        fits = isinstance(listed, list) and len(listed) <= NAMES_MAX
        if not fits or not all(isinstance(name, str) and 0 < len(name) <= TEXT_CHARS_MAX for name in listed):
            self.problems.append(f"trigger.{key} must be a list of at most {NAMES_MAX} names")
            return ()
        return tuple(dict.fromkeys(listed))

    def _overlap(self) -> bool:
        if "prohibit_overlap" not in self._raw and "allow_overlap" in self._raw:
            return not self._flag("allow_overlap", default=False)
        return self._flag("prohibit_overlap", default=True)

    def _window(self) -> Window | None:
        given = self._raw.get("window")
        if given is None or given == {}:
            return None
        raw = _object(given)
        duration_ms, action = raw.get("duration_ms"), raw.get("end_action", LET_GO_ON)
        if not _is_number(duration_ms, DURATION_MS_MAX) or not duration_ms:
            self.problems.append("window.duration_ms must be a whole number of milliseconds above 0")
            return None
        if action not in (CANCEL, LET_GO_ON):
            self.problems.append(f"window.end_action must be {CANCEL} or {LET_GO_ON}")
            return None
        return Window(int(duration_ms), action)

    def _text(self, key: str) -> str:
        value = self._raw.get(key, "")
        if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
            self.problems.append(f"{key} must be a text of at most {TEXT_CHARS_MAX} characters")
            return ""
        return value.strip()

    def _flag(self, key: str, *, default: bool) -> bool:
        value = self._raw.get(key, default)
        if not isinstance(value, bool):
            self.problems.append(f"{key} must be true or false")
        return bool(value)

    def _choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        value = self._raw.get(key, default)
        if value not in choices:
            self.problems.append(f"{key} must be one of {', '.join(choices)}")
            return default
        return str(value)

    def _number(self, key: str, default: int, *, most: int = DURATION_MS_MAX) -> int:
        value = self._raw.get(key, default)
        if not _is_number(value, most):
            self.problems.append(f"{key} must be a whole number from 0 to {most}")
            return default
        return int(value)

    def _object_at(self, key: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problems.append(f"{key} must be an object")
            return {}
        if len(dumps(value)) > OBJECT_BYTES_MAX:
            self.problems.append(f"{key} is larger than {OBJECT_BYTES_MAX} bytes")
            return {}
        return value


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _moment_ms(value: Any, zone: Any) -> int | None:
    """The moment that an ISO time means, or None; one without offset is a time in `zone`."""
    if not isinstance(value, str) or zone is None:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        ms = int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return None
    return ms if ms > 0 else None
