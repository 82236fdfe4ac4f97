"""Real programs for tests: an engine and agents as processes of their own, and a client of the REST API.

What is started is ended by whoever uses it as a context manager, whatever happens in between.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
READY_S = 60.0
REQUEST_S = 30.0
ENDED_S = 20.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment(told: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would configure an engine or a plugin, and `told`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIRASTACK_", "MN_"))}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH", "")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | dict(told or {})


class Program:
    """A command that may run several times, one after the other; all it says is in `log`.

    It leads a process group of its own, so that what it started ends with it.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, told: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.command, self.log = list(command), log
        self._environment, self._cwd = environment(told), cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it (again)."""
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def said(self) -> str:
        """What it has said since its latest start."""
        return self.log.read_bytes()[self._said_before :].decode(errors="replace")

    def until_said(self, pattern: str, *, within_s: float = READY_S) -> re.Match[str]:
        """Wait until a line says so.  Raises AssertionError with its last words when it ends before."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.said())
            if found is None and self.exit_code is not None:
                found = re.search(pattern, self.said())
                assert found, (
                    f"ended with {self.exit_code} before it said {pattern!r}: {self.said()[-2_000:]}"
                )
            return found

        found = until(look, within_s=within_s, what=f"{pattern!r} in {self.log.name}")
        assert found is not None
        return found

    def ended(self, *, within_s: float = ENDED_S) -> int:
        """Wait until it has ended by itself; returns its exit code."""
        until(lambda: self.exit_code is not None, within_s=within_s, what=f"the end of {self.command[-3:]}")
        assert self.exit_code is not None
        return self.exit_code

    def terminate(self, *, within_s: float = ENDED_S) -> int:
        """Ask it to stop (SIGTERM) and wait; returns its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.ended(within_s=within_s)

    def kill(self) -> None:
        """kill -9, to it and what it started; returns when it is gone.  Harmless when it never ran."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # All of the group may have ended.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Away(Exception):
    """The engine did not answer: what was asked may have been done, or not."""


class Refusal(Exception):
    """The engine said no."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {error.get('code')}: {error.get('message')}")
        self.status = status
        self.code = str(error.get("code", ""))
        self.error = dict(error)


class Client:
    """One person at the REST API, over one connection that is opened again when it breaks."""

    def __init__(self, port: int, *, key: tuple[str, str]) -> None:
        self._port, self._key = port, key
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""

    def get(self, path: str) -> Any:
        """The answer.  Raises Away, Refusal."""
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """The answer.  Raises Away, Refusal."""
        return self.ask("POST", path, body, headers=headers)

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The answer, signed in; a text as body is a runbook.  Raises Away, Refusal."""
        if not self._token:
            key_id, secret = self._key
            session = self._send(
                "POST", "/api/v1/auth/login", {"api_key_id": key_id, "api_secret": secret}, {}
            )
            self._token = session["access_token"]
        signed = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        try:
            return self._send(method, f"/api/v1{path}", body, signed)
        except Refusal as refusal:
            if refusal.status == 401:
                self._token = ""
            raise

    def all_of(self, path: str) -> list[dict[str, Any]]:
        """All items of a list, page by page.  Raises Away, Refusal."""
        items: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            mark = "&" if "?" in path else "?"
            page = self.get(f"{path}{mark}limit=500{f'&cursor={cursor}' if cursor else ''}")
            items += page["items"]
            cursor = page["next"]
        return items

    def healthy(self) -> bool:
        """Whether the engine answers and says that it is well."""
        try:
            return bool(self._send("GET", "/healthz", None, {})["status"] == "ok")
        except (Away, Refusal):
            return False

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        text = isinstance(body, str)
        raw = None if body is None else (body if text else json.dumps(body)).encode()
        kind = {} if raw is None else {"Content-Type": "application/yaml" if text else "application/json"}
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=REQUEST_S)
        try:
            self._connection.request(method, path, raw, {**headers, **kind})
            answer = self._connection.getresponse()
            status, said = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._connection = None
            raise Away(f"{method} {path}: {type(error).__name__}: {error}") from error
        value = json.loads(said) if said else None
        if status >= 400:
            raise Refusal(status, value["error"] if isinstance(value, dict) and "error" in value else {})
        return value


class EngineProgram(Program):
    """`headway up` (or another command that takes `--config`) in a folder, on ports that stay the same."""

    def __init__(
        self,
        folder: Path,
        *,
        words: Sequence[str] = ("up",),
        config: Mapping[str, Any] | None = None,
        rest_port: int = 0,
        grpc_port: int = 0,
        jobs_port: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.rest_port, self.grpc_port = rest_port or free_port(), grpc_port or free_port()
        self.jobs_port = jobs_port or free_port()
        self.config = folder / "headway.yaml"
        addresses: dict[str, Any] = {
            "listen_addr": f"127.0.0.1:{self.rest_port}",
            "grpc_addr": f"127.0.0.1:{self.grpc_port}",
            "mirrorneuron": {"addr": f"127.0.0.1:{self.jobs_port}"},
            "data_dir": str(folder / "data"),
            "plugins": {"dir": str(folder / "plugins")},
        }
        given = dict(config or {})
        given["mirrorneuron"] = addresses["mirrorneuron"] | given.get("mirrorneuron", {})
        self.config.write_text(json.dumps(addresses | given), encoding="utf-8")  # JSON is YAML.
        command = [sys.executable, "-m", "headway.main", *words, "--config", str(self.config)]
        super().__init__(command, log=folder / "engine.log", cwd=folder)
        self._key: tuple[str, str] | None = None

    @property
    def store(self) -> Path:
        """The file of its store."""
        return self.folder / "data" / "headway.db"

    def until_ready(self, *, within_s: float = READY_S) -> None:
        """Wait until it serves people and plugins."""
        self.until_said(r"ready: ", within_s=within_s)

    def client(self) -> Client:
        """A client with the first key, which the engine printed at its first start."""
        if self._key is None:
            said = self.log.read_text(encoding="utf-8", errors="replace")
            found = re.search(r"api_key_id=(\S+)\s+.*?api_secret=(\S+)", said, re.DOTALL)
            assert found, f"the engine printed no key: {said[-2_000:]}"
            self._key = (found[1], found[2])
        return Client(self.rest_port, key=self._key)

    def agent(self, name: str, command: Sequence[str], *, told: Mapping[str, str] | None = None) -> Program:
        """A plugin process of this engine, not started yet."""
        given = {
            "MIRASTACK_ENGINE_ADDR": f"127.0.0.1:{self.grpc_port}",
            "MIRASTACK_PLUGIN_TENANT_SLUG": "default",
            "MIRASTACK_PLUGIN_ADVERTISE_ADDR": "127.0.0.1:1",  # Nobody is to be called back.
            **(told or {}),
        }
        return Program([sys.executable, *command], log=self.folder / f"{name}.log", told=given)


def quoted(step: str) -> str:
    """A step id as it stands in a path."""
    return urllib.parse.quote(step, safe="")
