"""Where each program runs: peers get environments of their own under .bench, made on first use.

Versions are pinned, so that two people who compare figures compare the same peers.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".bench"
INSTALL_LIMIT_S = 300

REQUIREMENTS = {
    "dbos": ("dbos==3.4.0",),
    "langgraph": ("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2"),
    "mirrorneuron": ("mirrorneuron-cli==1.2.32",),
    "restate": ("restate-sdk[serde]==1.3.0", "hypercorn==0.18.0"),
}
RESTATE_SERVER = "1.7.12"
"""Version of the npm package that carries the server's program for this kind of machine."""


class Missing(Exception):
    """A side cannot be measured here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python to run programs with, and the arguments that its programs need beside their own."""

    python: str
    arguments: tuple[str, ...] = ()


@cache
def environment(home: str) -> Environment:
    """The environment named `home`, installed when it is not there.  Raises Missing."""
    if home == "headway":
        return Environment(sys.executable)
    python = _venv(home)
    return Environment(python, ("--server", str(_restate_server())) if home == "restate" else ())


def make_home() -> Path:
    """The bench's own folder; git ignores it whatever the project's ignore file says."""
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n")
    return HOME


def _venv(home: str) -> str:
    folder = make_home() / home
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(REQUIREMENTS[home])
    if done.exists() and done.read_text() == wanted:
        return str(python)
    print(f"installing {', '.join(REQUIREMENTS[home])} into {folder.relative_to(ROOT)}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        _run(home, [str(uv), "venv", "--quiet", "--python", sys.executable, str(folder)])
        _run(
            home,
            [
                str(uv),
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                str(python),
                *REQUIREMENTS[home],
            ],
        )
    else:
        _run(home, [sys.executable, "-m", "venv", str(folder)])
        _run(home, [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[home]])
    done.write_text(wanted)
    return str(python)


def _restate_server() -> Path:
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), platform.system().lower())
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine(), platform.machine()
    )
    folder = make_home() / "npm"
    package = folder / "node_modules" / "@restatedev" / f"restate-server-{system}-{machine}"
    program, done = package / "bin" / "restate-server", folder / "installed"
    if done.exists() and done.read_text() == RESTATE_SERVER and program.exists():
        return program
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("restate-server comes in an npm package, and there is no npm here; install Node.js")
    folder.mkdir(exist_ok=True)
    print(f"installing restate-server {RESTATE_SERVER} into {folder.relative_to(ROOT)}", file=sys.stderr)
    wanted = f"@restatedev/restate-server@{RESTATE_SERVER}"
    _run(
        "restate",
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), wanted],
    )
    if not program.exists():
        raise Missing(f"the npm package {wanted} has no program for {system}-{machine}")
    done.write_text(RESTATE_SERVER)
    return program


def _run(home: str, command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_S,
            check=False,
            env={**os.environ, "CI": "1"},
        )
    except subprocess.TimeoutExpired:
        raise Missing(
            f"installing {home} took longer than {INSTALL_LIMIT_S} s; try again with a network"
        ) from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip()[-500:]
        raise Missing(f"{home} could not be installed: `{' '.join(command)}` said: {last}")
