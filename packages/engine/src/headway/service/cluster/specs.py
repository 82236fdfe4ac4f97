"""From what a service declares to how it is probed: templates replaced, then read, then checked again.

What a declaration may hold is read by `headway_wire.manifest`; here are the rules that need the values that
templates stand for, and the limits that protect the engine and whoever it asks.

Source: bundle contract, section 9, and the published spelling `url` of an http check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from headway_wire.errors import Invalid
from headway_wire.manifest import Check, Service
from headway_wire.manifest.services import read_services

from headway.core.plan import Json
from headway.core.value import value
from headway.service.cluster.scripts import words
from headway.service.cluster.templates import Scope, fill

LOCALHOST = "127.0.0.1"
TIMEOUT_MS_MAX = 60_000
INTERVAL_MS_MIN = 500
CONTAINS_CHARS_MAX = 4_096

_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")
_PATH = re.compile(r"/[!-~]{0,2047}")


@value
class Probe:
    """How one check is made.  Times in milliseconds; expected_status: first and last of each good range."""

    kind: Literal["http", "tcp", "script", "grpc"]
    name: str
    address: str = LOCALHOST
    port: int = 0
    path: str = "/"
    method: str = "GET"
    tls: bool = False
    expected_status: tuple[tuple[int, int], ...] = ((200, 399),)
    contains: str = ""
    command: tuple[str, ...] = ()
    service: str = ""
    timeout_ms: int = 2_000
    interval_ms: int = 10_000
    required: bool = True
    failures_before_critical: int = 1


def filled_service(raw: Mapping[str, Json], scope: Scope, where: str, problems: list[str]) -> Service | None:
    """The service that `raw` declares, with every template in it replaced; problems are added, without it."""
    wrong: list[str] = []
    place = {
        key: fill(raw.get(key), replace(scope, service=None), f"{where}: {key}", wrong)
        for key in ("address", "port")
    }
    known = {"address": place["address"] or LOCALHOST, "port": place["port"]}
    rest = {key: item for key, item in raw.items() if key not in place}
    whole = {**fill(rest, replace(scope, service=known), where, wrong), **known}
    problems += wrong
    if wrong:
        return None
    try:
        [service] = read_services([whole])
    except Invalid as error:
        problems.append(f"{where}: {error.message}")
        return None
    if not _HOST.fullmatch(service.address):
        problems.append(f"{where}: address must be a host name or an IP address; found {service.address!r}")
        return None
    found = len(problems)
    probes_of(service, where, problems)
    return service if len(problems) == found else None


def probes_of(service: Service, where: str, problems: list[str]) -> tuple[Probe, ...]:
    """How a service, with nothing left to fill in, is probed: a probe for each check, unless one is wrong."""
    probes = (
        _probe(check, service, f"{where}, check {index + 1}", problems)
        for index, check in enumerate(service.checks)
    )
    return tuple(probe for probe in probes if probe is not None)


def _probe(check: Check, service: Service, where: str, problems: list[str]) -> Probe | None:
    before = len(problems)
    tls, address, port, path = _target(check, service, where, problems)
    if check.type == "http" and not _PATH.fullmatch(path):
        problems.append(f"{where}: path must begin with / and hold no spaces; found {path!r}")
    if not _HOST.fullmatch(address):
        problems.append(f"{where}: address must be a host name or an IP address; found {address!r}")
    if check.type != "script" and not port:
        problems.append(f"{where} needs a port; give one to the check or to the service")
    command = words(check.raw.get("command")) if check.type == "script" else []
    if isinstance(command, str):
        problems.append(f"{where}: {command}")
    probe = Probe(
        check.type,
        check.name or f"{check.type} check",
        address,
        port,
        path,
        check.method,
        tls,
        check.expected_status,
        check.contains[:CONTAINS_CHARS_MAX],
        tuple(command) if isinstance(command, list) else (),
        str(check.raw.get("service") or ""),
        min(check.timeout_ms, TIMEOUT_MS_MAX),
        max(check.interval_ms, INTERVAL_MS_MIN),
        check.required,
        check.failures_before_critical,
    )
    return probe if len(problems) == before else None


def _target(check: Check, service: Service, where: str, problems: list[str]) -> tuple[bool, str, int, str]:
    """Whether TLS is spoken, host, port and path: from `url` where there is one, else from the fields."""
    url = check.raw.get("url")
    if not url or check.type != "http":
        port = check.port if check.port is not None else service.port
        if isinstance(port, str):
            problems.append(f"{where}: port must be from 1 to 65535; found {port!r}")
            port = 1
        return False, check.address or service.address, port or 0, check.path
    try:
        parts = urlsplit(str(url))
        scheme, address, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        parts, scheme, address, port = urlsplit(""), "", "", None
    if scheme not in ("http", "https"):
        problems.append(f"{where}: url must be http://host:port/path or https://; found {str(url)[:200]!r}")
    path = parts.path or "/"
    return (
        scheme == "https",
        address,
        port or (443 if scheme == "https" else 80),
        f"{path}?{parts.query}" if parts.query else path,
    )
