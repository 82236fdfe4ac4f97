"""`headway doctor`: look at the machine and the configuration, and say what to do about each finding.

It changes nothing.  Every check answers in words; none of them raises.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from headway_wire.errors import HeadwayError

from headway.settings import Address, Config, load

DISK_FREE_MIN = 512 << 20
FILES_MIN = 1_024
PYTHON_MIN = (3, 11)
SQLITE_MIN = (3, 51, 3)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.  level: ok, warning or error; `advice` says what to do, "" when nothing."""

    level: str
    subject: str
    text: str
    advice: str = ""


def examine(config_path: Path | None, environ: Mapping[str, str]) -> list[Finding]:
    """All findings about this machine and this configuration, the good ones included."""
    found = [_python(), _files(), *_packages()]
    try:
        loaded = load(config_path, environ)
    except HeadwayError as error:
        problems = [str(problem) for problem in error.problems] or [str(error)]
        advice = "correct the file; docs/reference/configuration.md lists every key"
        return found + [Finding("error", "configuration", problem, advice) for problem in problems]
    place = str(loaded.path) if loaded.path else "none given, defaults apply"
    found.append(Finding("ok", "configuration", place))
    found += [Finding("warning", "configuration", str(warning)) for warning in loaded.warnings]
    for check in (_store, _ports, _plugins):
        found += check(loaded.config)
    return found


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] < PYTHON_MIN:
        return Finding("error", "python", f"{version} is too old", "install Python 3.11 or newer")
    return Finding("ok", "python", version)


def _files() -> Finding:
    import resource  # Not on every platform; only this check needs it.

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES_MIN:
        return Finding("warning", "open files", f"at most {soft}", f"raise it: ulimit -n {FILES_MIN}")
    return Finding("ok", "open files", f"up to {soft}")


def _packages() -> Iterator[Finding]:
    import apsw  # Heavy, and only this check needs it.

    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < SQLITE_MIN:
        advice = "install apsw 3.51.3 or newer: earlier SQLite can lose commits under load"
        yield Finding("error", "sqlite", f"{version} has a known defect", advice)
    else:
        yield Finding("ok", "sqlite", version)


def _store(config: Config) -> Iterator[Finding]:
    path = config.sqlite_path
    if path is None:
        yield Finding("ok", "store", "PostgreSQL; `headway up` says whether it answers")
        return
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("error", "store", f"{folder} is not writable", "choose another store.url or its owner")
        return
    free = shutil.disk_usage(folder).free
    if free < DISK_FREE_MIN:
        text = f"{free >> 20} MiB are free in {folder}"
        yield Finding("warning", "disk", text, "make room: nothing is accepted while the disk is full")
    yield Finding("ok", "store", f"{path}{'' if path.exists() else ' (made at the first start)'}")


def _ports(config: Config) -> Iterator[Finding]:
    named = {
        "listen_addr": config.listen_addr,
        "grpc_addr": config.grpc_addr,
        "mirrorneuron.addr": config.mirrorneuron.addr,
    }
    for one, other in combinations(named, 2):
        if named[one] == named[other]:
            yield Finding("error", "ports", f"{one} and {other} are the same", "give each its own port")
    for key, address in named.items():
        yield _port(key, address)
        if address.host in ("", "0.0.0.0", "::"):
            text = f"{key} {address} is reachable from other machines"
            advice = f"set it to 127.0.0.1:{address.port} unless the network is trusted"
            yield Finding("warning", "ports", text, advice)


def _port(key: str, address: Address) -> Finding:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            advice = f"stop what listens there, or set {key} to another port"
            return Finding("error", "ports", f"{key} {address}: {error.strerror}", advice)
    return Finding("ok", "ports", f"{key} {address} is free")


def _plugins(config: Config) -> Iterator[Finding]:
    folder = Path(config.plugins.dir)
    if not folder.is_dir():
        yield Finding("ok", "plugins", f"{folder} does not exist, so no plugin is started with the engine")
        return
    for path in sorted(item for item in folder.iterdir() if item.is_dir()):
        runnable = [f for f in path.iterdir() if f.is_file() and os.access(f, os.X_OK)]
        if runnable:
            yield Finding("ok", "plugins", f"{path.name}: {', '.join(sorted(f.name for f in runnable))}")
        else:
            yield Finding("warning", "plugins", f"{path} holds no executable", "chmod +x its program")
