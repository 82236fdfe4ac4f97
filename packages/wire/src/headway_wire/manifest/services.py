"""Reading services: what a job offers, how it is checked, and what it needs of others.

Source: bundle contract, section 9.
"""

from __future__ import annotations

import re
from typing import cast

from headway_wire.errors import Invalid
from headway_wire.manifest.fields import (
    MS_MAX,
    Spot,
    Table,
    Wrong,
    flag,
    is_plain,
    mapping,
    name,
    names,
    text,
    whole,
)
from headway_wire.manifest.findings import Findings, printable, quoted
from headway_wire.manifest.terms import Check, CheckType, Json, RequiredService, Service

CHECK_TYPES = ("http", "tcp", "script", "grpc")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH")
SERVICES_MAX = 1_000
CHECKS_MAX = 100
NAME_CHARACTERS_MAX = 255

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_RANGE = re.compile(r"([0-9]{3})(?:\.\.([0-9]{3}))?")
_STATUSES = 'a status, a range "200..399", or a list of these'


def read_services(value: Json) -> tuple[Service, ...]:
    """The services in a list of specs, or in ``{"services": [...]}``.

    Raises: Invalid with everything that is wrong with them.
    """
    found = Findings()
    specs = value if isinstance(value, dict) else {"services": value}
    services = services_in(Spot(found), specs, "services") if is_plain(found, specs) else ()
    if found.failed:
        raise Invalid("; ".join(finding.message for finding in found.all()), code="services_invalid")
    return services


def services_in(spot: Spot, raw: dict[str, Json], key: str, *, agent: str = "") -> tuple[Service, ...]:
    """The services in the array under `key`, offered by `agent`; what is wrong is noted."""
    services = []
    for place, item in spot.objects(raw, key, most=SERVICES_MAX):
        given = place.take(item, _SERVICE)
        checks = _checks(place, item)
        if name := _name(place, item):
            services.append(Service(**given, name=name, checks=checks, agent=agent, raw=item))
    return tuple(services)


def required_services_in(spot: Spot, raw: dict[str, Json], key: str) -> tuple[RequiredService, ...]:
    """The requirements in the array under `key`; a bare text is the name of a service that must be there."""
    value = raw.get(key)
    if isinstance(value, list | tuple):
        raw = {key: [{"name": item} if isinstance(item, str) else item for item in value]}
    needed = []
    for place, item in spot.objects(raw, key, most=SERVICES_MAX):
        given = place.take(item, _REQUIRED)
        if name := _name(place, item):
            needed.append(RequiredService(**given, name=name, raw=item))
    return tuple(needed)


def _name(spot: Spot, item: dict[str, Json]) -> str:
    """The name of a service; "" when it has none that can be used, which is noted."""
    value = item.get("name")
    if value is None or value == "":
        spot.note("missing_key", f"{spot.prefix}name is required", "name")
        return ""
    fits = isinstance(value, str) and len(value) <= NAME_CHARACTERS_MAX
    if fits and ("${" in value or _NAME.fullmatch(value)):
        return str(value)
    message = f'service name {quoted(value)} may have only letters, digits, ".", "_" and "-"'
    spot.note("wrong_value", message, "name", actual=value)
    return ""


def _checks(spot: Spot, raw: dict[str, Json]) -> tuple[Check, ...]:
    checks = []
    for place, item in spot.objects(raw, "checks", most=CHECKS_MAX):
        type = item.get("type")
        if type in CHECK_TYPES:
            checks.append(Check(**place.take(item, _CHECK), type=cast(CheckType, type), raw=item))
        else:
            message = f"{place.prefix}type: unsupported check type {quoted(type)}"
            expected = ", ".join(CHECK_TYPES)
            place.note("wrong_value", message, "type", expected=expected, actual=type)
    return tuple(checks)


def _port(value: Json) -> int | str:
    """A number, or text that becomes one when its ``${...}`` is resolved."""
    if isinstance(value, str):
        if "${" in value:
            return printable(value)
        if value.isascii() and value.isdecimal() and len(value) <= 5:
            value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65_535:
        raise Wrong("a port from 1 to 65535, or text with ${...}")
    return value


def _statuses(value: Json) -> tuple[tuple[int, int], ...]:
    """The ranges that `expected_status` names: a number, ``"a..b"``, or a list of these."""
    parts = value if isinstance(value, list | tuple) else [value]
    ranges = [_range(part) for part in parts]
    if not ranges:
        raise Wrong(_STATUSES)
    return tuple(ranges)


def _range(part: Json) -> tuple[int, int]:
    low, high = part, part
    if isinstance(part, str):
        bounds = _RANGE.fullmatch(part)
        if bounds is None:
            raise Wrong(_STATUSES)
        low, high = int(bounds[1]), int(bounds[2] or bounds[1])
    if not isinstance(low, int) or not 100 <= low <= high <= 599:
        raise Wrong(_STATUSES)
    return low, high


def _method(value: Json) -> str:
    if not isinstance(value, str) or value.upper() not in METHODS:
        raise Wrong(f"one of {', '.join(METHODS)}")
    return value.upper()


_wait = whole(1, MS_MAX)
_SERVICE: Table = {
    "id": ("id", name),
    "address": ("address", text),
    "port": ("port", _port),
    "tags": ("tags", names),
    "meta": ("meta", mapping),
    "origin": ("origin", text),
    "provider": ("provider", text),
}
_REQUIRED: Table = {"tags": ("tags", names), "required": ("required", flag)}
_CHECK: Table = {
    "name": ("name", text),
    "address": ("address", text),
    "port": ("port", _port),
    "path": ("path", text),
    "method": ("method", _method),
    "expected_status": ("expected_status", _statuses),
    "contains": ("contains", text),
    "timeout_ms": ("timeout_ms", _wait),
    "interval_ms": ("interval_ms", _wait),
    "required": ("required", flag),
    "failures_before_critical": ("failures_before_critical", whole(1, 10_000)),
}
