"""Somebody at a command line: `miractl` or `mn` in processes of their own, with files of their own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from typing import Any, ClassVar, Self

from packages.engine.tests.rest.boxes import Box

PATIENCE_S = 30.0
MIRACTL = [sys.executable, "-c", "from headway_cli.miractl import main; main()"]
MN = [sys.executable, "-c", "from headway_cli.mn import main; main()"]
"""The console scripts, without depending on where they are installed."""

_TERMINAL = ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR")
_OURS = ("MN_", "MIRACTL_")
"""Variables, and beginnings of variables, that would change what is shown, or where it comes from."""

_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[>=]")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Person:
    """Somebody who calls a program.  home: a folder for the program's files.  extra: variables to set."""

    home: Path
    extra: dict[str, str] = field(default_factory=dict)

    program: ClassVar[list[str]] = []

    def variables(self) -> dict[str, str]:
        """What the program finds in its environment, beside everything else."""
        return {}

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _TERMINAL and not name.startswith(_OURS)
        }
        return {**kept, "TERM": "xterm-256color", **self.variables(), **self.extra}

    def run(self, *words: str, given: str = "", code: int | None = 0) -> Done:
        """Run a command to its end, without a terminal; `code` is the exit code that is expected."""
        ended = subprocess.run(
            [*self.program, *words],
            env=self.environment(),
            input=given.encode(),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        done = Done(ended.returncode, ended.stdout.decode(), ended.stderr.decode())
        assert code is None or done.code == code, done
        assert "Traceback" not in done.err, done.err
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command without a terminal."""
        return subprocess.Popen(
            [*self.program, *words],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sit(self, *words: str, columns: int = 120, rows: int = 40) -> Terminal:
        """Begin a command on a terminal."""
        return Terminal([*self.program, *words], self.environment(), columns, rows)


@dataclass
class Operator(Person):
    """A person with the files of `miractl`, logged in as one of the box's people."""

    box: Box = field(kw_only=True)

    program: ClassVar[list[str]] = MIRACTL

    @property
    def config(self) -> Path:
        return self.home / "config.yaml"

    @property
    def tokens(self) -> Path:
        return self.home / "tokens.yaml"

    def variables(self) -> dict[str, str]:
        return {"MIRACTL_CONFIG": str(self.config)}

    def log_in(self, who: str = "admin", *, url: str = "") -> Self:
        """Say where the engine is, and open a session."""
        self.run("init", "--name", "box", "--url", url or f"http://127.0.0.1:{self.box.port}")
        key, secret = self.box.keys[who]
        self.run("login", "--api-key", key, "--api-secret-stdin", given=secret + "\n")
        return self


@dataclass
class Author(Person):
    """A person with a state folder for `mn`, who speaks to the engine at `target`."""

    target: str = field(kw_only=True)

    program: ClassVar[list[str]] = MN

    def variables(self) -> dict[str, str]:
        return {"MN_HOME": str(self.home), "MN_GRPC_TARGET": self.target}


class Terminal:
    """A command on a pseudo-terminal, which is read until a text appears or the command ends."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], columns: int, rows: int) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            command, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.raw = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE_S)
        os.close(self._master)

    @property
    def text(self) -> str:
        """All that was shown, without colours and movements of the cursor."""
        return _STYLES.sub("", self.raw).replace("\r\n", "\n")

    def until(self, text: str) -> str:
        """Read until `text` was shown."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.text:
            assert time.monotonic() < deadline, f"not shown: {text!r}\n{self.text}"
            assert self._read(), f"ended without: {text!r}\n{self.text}"
        return self.text

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """What Ctrl+C does."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], PATIENCE_S)
        assert ready, f"silent for {PATIENCE_S} s\n{self.text}"
        try:
            found = os.read(self._master, 65_536)
        except OSError:  # What Linux says when the other side has gone.
            return False
        self.raw += found.decode(errors="replace")
        return bool(found)


class Wire:
    """A way to the engine that can be cut and mended: a port that forwards to the box's."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._open: list[socket.socket] = []
        self._cut = False
        self.refused = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self._cut = True
        for one in self._open:
            _close(one)
        self._open.clear()

    def mend(self) -> None:
        self._cut = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._cut:
                self.refused += 1
                _close(near)
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while found := source.recv(65_536):
            target.sendall(found)
    _close(source)
    _close(target)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
