"""`headway demo`: the whole journey on this real machine, from an empty folder to an approved change, and a
workflow in Python on the same engine.

It starts the engine and the `host` agent as processes of their own and then does only what a person
could do: every step is a command, shown before it runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from headway_wire.errors import Conflict, NotFound, Unavailable

from headway.stores.sqlite_file import FileLock

HOME = Path(".headway/demo")
RUNBOOK = Path("examples/runbooks/host-report.yaml")
BLUEPRINT = Path("examples/blueprints/python_sdk_research_pipeline")
COMPILER = "mn_blueprint_support.python_workflow_bundle_cli"
OLD_FILES = {"report-2025.log": 90, "debug.log": 45, "trace.log": 31}
NEW_FILES = ("today.log", "keep.txt")
OLDER_THAN_DAYS = 30
KEPT = "stop-it-with"
"""The file that says how to end what KEEP=1 has left running."""
PORTS_MAX = 6
RULE_MAX = 88
COLUMNS_MIN = 40
START_S = 30.0
POLL_S = 0.05


def run_demo(*, keep: bool) -> int:
    """Run the demo in the current folder; returns the exit code.  keep: leave everything running."""
    for needed in (RUNBOOK, BLUEPRINT):
        if not needed.exists():
            raise NotFound(f"{needed} is not here; run the demo from the root of a checkout")
    began = time.monotonic()
    with ExitStack() as stack:
        demo = Demo(HOME.resolve(), stack, keep=keep)
        demo.start()
        demo.look()
        approval = demo.run_until_gate()
        demo.approve(approval)
        demo.report()
        demo.compile_and_run()
        demo.farewell(time.monotonic() - began)
    return 0


class Demo:
    """One run of the demo in its own folder.  stack: closes what must not outlive it."""

    def __init__(self, home: Path, stack: ExitStack, *, keep: bool) -> None:
        self._home, self._stack, self._keep = home, stack, keep
        self._folder = home / "old-files"
        self._execution = self._jobs_at = ""
        self._processes: list[subprocess.Popen[bytes]] = []

    # Chapters -------------------------------------------------------------------------------------

    def start(self) -> None:
        """An engine on an empty store, and an agent that registers with it."""
        self._refuse_beside_another()
        shutil.rmtree(self._home, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._fill_folder()
        rest, grpc, jobs = free_port(), free_port(), free_port()
        self._jobs_at = f"127.0.0.1:{jobs}"
        config = self._home / "headway.yaml"
        config.write_text(
            f"listen_addr: 127.0.0.1:{rest}\ngrpc_addr: 127.0.0.1:{grpc}\ndata_dir: {self._home / 'data'}\n"
            f"mirrorneuron: {{addr: '{self._jobs_at}'}}\n",
            encoding="utf-8",
        )
        chapter("1", "Start the engine and an agent, each a process of its own")
        shown(f"headway up --config {relative(config)}")
        log = self._spawn("engine", [sys.executable, "-m", "headway.main", "up", "--config", str(config)])
        text = self._until(log, r"ready: people", "the engine")
        note(f"the engine listens on 127.0.0.1: {rest} for people, {grpc} for plugins, {jobs} for jobs")
        note("it printed its first API key once; the store keeps only a hash of it")

        told = {"MIRASTACK_ENGINE_ADDR": f"127.0.0.1:{grpc}", "MIRASTACK_PLUGIN_TENANT_SLUG": "default"}
        shown(f"MIRASTACK_ENGINE_ADDR=127.0.0.1:{grpc} headway-agent-host --allow {relative(self._folder)}")
        agent = [sys.executable, "-m", "headway_agent_host", "--allow", str(self._folder)]
        self._spawn("agent", agent, told)
        self.miractl("init", "--name", "demo", "--url", f"http://127.0.0.1:{rest}", quiet=True)
        key, secret = credential(text, "api_key_id"), credential(text, "api_secret")
        self.miractl("login", "--api-key", key, "--api-secret-stdin", given=secret + "\n", quiet=True)
        self._until_registered()

    def look(self) -> None:
        """What has registered, and the runbook."""
        self.miractl("agent", "list")
        chapter("2", "Store a runbook: five questions at once, a summary, and a change")
        self.miractl("workflow", "create", str(RUNBOOK))

    def run_until_gate(self) -> str:
        """Run it up to its gate; returns the approval that it waits for."""
        chapter("3", "Run it. It stops before it changes anything")
        count = len(OLD_FILES) + len(NEW_FILES)
        note(f"{len(OLD_FILES)} of the {count} files in the folder are old enough to go")
        path, days = f"path={self._folder}", f"older_than_days={OLDER_THAN_DAYS}"
        self.miractl("workflow", "run", "host-report", "--input", path, "--input", days)
        waiting = self._read("approval", "list")["items"]
        pending = [item for item in waiting if item["status"] == "pending"]
        if not pending:
            raise Unavailable("the run did not stop at its gate; look at .headway/demo/engine.log")
        self._execution = pending[0]["execution"]
        self._check_files(removed=False)
        return str(pending[0]["id"])

    def approve(self, approval: str) -> None:
        """Approve it as a person would: read exactly what is asked, then say yes."""
        chapter("4", "Approve it, as a person would. (The demo is the person now.)")
        comment = "old logs, seen by the demo"
        self.miractl("approval", "approve", approval, "--yes", "--comment", comment)
        self.miractl("execution", "watch", self._execution)

    def report(self) -> None:
        """What the run came to, as people want to read it."""
        chapter("5", "The report")
        execution = self._read("execution", "get", self._execution)
        if execution["status"] != "succeeded":
            raise Unavailable(f"the run ended {execution['status']}: {execution['error']}")
        self._check_files(removed=True)
        print_report(execution["outputs"])
        again = subprocess.run(
            [str(self._miractl()), "approval", "approve", self._approval_of(execution), "--yes"],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        note("the change happened once. Approving it a second time is refused:")
        click.secho(f"      {(again.stderr or again.stdout).strip().splitlines()[0]}", dim=True)

    def compile_and_run(self) -> None:
        """The workflow of the documentation: compiled, checked, and run as a job of the same engine."""
        chapter("6", "A workflow in Python: compile it, check it, run it as a job")
        bundle = relative(self._home / "research")
        for line in source_lines(BLUEPRINT / "workflow.py"):
            click.secho(f"      {line}".rstrip(), dim=True)
        made = ["--blueprint-dir", str(BLUEPRINT), "--quick-test", "--output-dir", bundle]
        shown(f"python -m {COMPILER} \\\n       {' '.join(made[:2])} \\\n       {' '.join(made[2:])}")
        self._call("the compiler", [sys.executable, "-m", COMPILER, *made])
        self.mn("blueprint", "validate", bundle)
        self.mn("blueprint", "run", bundle)
        note("both agents ran in warm processes. The summary is left for an agent of yours to write")

    def farewell(self, took_s: float) -> None:
        """Three commands to try next."""
        chapter("7", f"Done in {took_s:.1f} s. Try next")
        if self._keep:
            self._stack.pop_all()  # Nobody ends them now but you.
            config = self._home / "config.yaml"
            stop = f"kill {' '.join(str(process.pid) for process in self._processes)}"
            (self._home / KEPT).write_text(f"{stop}\n", encoding="utf-8")
            note(f"the engine and the agent go on; stop them with: {stop}")
            shown(f"export MIRACTL_CONFIG={relative(config)} MN_GRPC_TARGET={self._jobs_at}")
            shown(f"{tool('miractl')} action invoke host disks")
            shown(f"{tool('mn')} blueprint run python_sdk_scatter_scores")
        else:
            tries = {
                "make demo KEEP=1": "the same, and leave the engine running",
                f"{tool('mn')} blueprint list": "workflows to run then, each of which shows one thing",
                f"{tool('headway')} new agent my-agent": "write an agent; its tests pass at once",
            }
            for command, about in tries.items():
                shown(f"{command:<40} # {about}")

    # Tools ----------------------------------------------------------------------------------------

    def miractl(self, *words: str, given: str = "", quiet: bool = False) -> None:
        """Run a command as a person would, and show it."""
        if not quiet:
            shown(" ".join(["miractl", *(f"'{w}'" if " " in w else w for w in map(relative, words))]))
        self._call(f"miractl {words[0]} {words[1]}", [str(self._miractl()), *words], given, quiet=quiet)

    def mn(self, *words: str) -> None:
        """Run a command of `mn` as a person would, and show it."""
        shown(" ".join(["mn", *words]))
        self._call(f"mn {words[0]} {words[1]}", [str(Path(sys.executable).with_name("mn")), *words])

    def _call(self, who: str, command: list[str], given: str = "", *, quiet: bool = False) -> None:
        # What is shown so far comes first, also where our own output is not a terminal.
        sys.stdout.flush()
        done = subprocess.run(
            command,
            env=self._environment(),
            input=given.encode() if given else None,
            stdin=None if given else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else None,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"{who} ended with {done.returncode}; see .headway/demo/engine.log")

    def _read(self, *words: str) -> Any:
        done = subprocess.run(
            [str(self._miractl()), *words, "-o", "json"],
            env=self._environment(),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"miractl {' '.join(words)}: {done.stderr.decode().strip()}")
        found = json.loads(done.stdout)
        return {"items": found} if isinstance(found, list) else found

    def _miractl(self) -> Path:
        return Path(sys.executable).with_name("miractl")

    def _environment(self) -> dict[str, str]:
        told = {"MIRACTL_CONFIG": self._home / "config.yaml", "MN_HOME": self._home / "mn"}
        return {**os.environ, "MN_GRPC_TARGET": self._jobs_at} | {name: str(at) for name, at in told.items()}

    def _spawn(self, name: str, command: list[str], told: dict[str, str] | None = None) -> Path:
        log = self._home / f"{name}.log"
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, **(told or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        self._stack.callback(end, process)
        return log

    def _refuse_beside_another(self) -> None:
        """The folder is made anew, which must not happen under an engine that works in it."""
        if not (self._home / "data").exists():
            return
        lock, told = FileLock(self._home / "data" / "headway.db"), self._home / KEPT
        try:
            lock.take()
        except Conflict as error:
            stop = (
                told.read_text(encoding="utf-8").strip()
                if told.exists()
                else "kill " + error.facts["process"]
            )
            where = relative(self._home)
            raise Conflict(f"an earlier demo still runs in {where}. Stop it first: {stop}") from error
        finally:
            lock.release()

    def _until(self, log: Path, pattern: str, who: str) -> str:
        """Wait for a line in a log; returns the whole text."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            text = log.read_text(encoding="utf-8", errors="replace")
            if re.search(pattern, text):
                return text
            if self._processes[-1].poll() is not None:
                raise Unavailable(f"{who} ended at once:\n{text.strip()[-2_000:]}")
            time.sleep(POLL_S)
        raise Unavailable(f"{who} was not ready within {START_S:.0f} s; see {relative(log)}")

    def _until_registered(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if any(item["status"] == "healthy" for item in self._read("agent", "list")["items"]):
                return
            time.sleep(POLL_S)
        raise Unavailable("the agent did not register; see .headway/demo/agent.log")

    def _approval_of(self, execution: dict[str, Any]) -> str:
        return next(str(step["approval"]) for step in execution["steps"] if step["approval"])

    def _fill_folder(self) -> None:
        for name, days in OLD_FILES.items():
            path = self._folder / name
            path.write_text(f"{days} days old\n" * 50 * days, encoding="utf-8")
            moment_s = time.time() - days * 86_400
            os.utime(path, (moment_s, moment_s))
        for name in NEW_FILES:
            (self._folder / name).write_text("new\n", encoding="utf-8")

    def _check_files(self, *, removed: bool) -> None:
        left = {path.name for path in self._folder.iterdir()}
        expected = set(NEW_FILES) if removed else {*NEW_FILES, *OLD_FILES}
        if left != expected:
            raise Unavailable(f"the folder holds {sorted(left)}, expected {sorted(expected)}")
        if not removed:
            note("nothing has changed yet: all files are still there")


# What people read ---------------------------------------------------------------------------------


def print_report(outputs: dict[str, Any]) -> None:
    """The outputs of the runbook `host-report`, as a page."""
    report, removed = outputs["report"], outputs["removed"] or {}
    bar(outputs["headline"])
    gauge("CPU", report["cpu_percent"])
    gauge("memory", report["memory_percent"])
    gauge("fullest disk", report["fullest_disk"])
    line("busiest", ", ".join(report["busiest"][:5]) or "nothing")
    ports = report["open_ports"]
    more = f" and {len(ports) - PORTS_MAX} more" if len(ports) > PORTS_MAX else ""
    line("listening ports", (", ".join(map(str, ports[:PORTS_MAX])) or "none") + more)
    for finding in report["findings"]:
        line("finding", click.style(finding, fg="yellow"))
    done = f"{outputs['clean_up']}: {removed.get('deleted_count', 0)} files deleted"
    line("clean-up", f"{done}, {removed.get('deleted_bytes', 0):,} bytes freed")
    for file in removed.get("deleted", []):
        line("", f"{file['path']:<20} {file['size_bytes']:>8,} bytes, {file['age_days']:.0f} days old")


def source_lines(path: Path) -> list[str]:
    """What a workflow does, in its own words: its class, without what stands above it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("@workflow.defn"))
    return lines[begin:]


def bar(text: str) -> None:
    """A headline."""
    click.echo(f"   {click.style(text, bold=True)}")


def line(name: str, text: str) -> None:
    """One fact."""
    click.echo(f"   {name:<16} {text}")


def gauge(name: str, percent: float) -> None:
    """A share, drawn."""
    filled = round(min(max(percent, 0), 100) / 5)
    colour = "red" if percent >= 90 else "yellow" if percent >= 75 else "green"
    drawn = click.style("█" * filled, fg=colour) + "░" * (20 - filled)
    click.echo(f"   {name:<16} {drawn} {percent:5.1f} %")


def columns() -> int:
    """The width of the terminal; without one, wide enough for every line."""
    return max(shutil.get_terminal_size((1_000, 24)).columns, COLUMNS_MIN)


def chapter(number: str, title: str) -> None:
    """Begin a chapter."""
    click.echo()
    click.secho(f"── {number}. {title} ".ljust(min(columns(), RULE_MAX), "─"), bold=True)


def note(text: str) -> None:
    """Say something."""
    for part in textwrap.wrap(text, columns() - 3, break_long_words=False, break_on_hyphens=False):
        click.echo(f"   {part}")


def shown(command: str) -> None:
    """Show a command."""
    click.secho(f"   $ {command}", fg="cyan")


def relative(word: object) -> str:
    """A path as it is typed from here; other words as they are."""
    text = str(word)
    here = f"{Path.cwd()}{os.sep}"
    return text.replace(here, "")


def tool(name: str) -> str:
    """How a program of this environment is typed from here."""
    return relative(Path(sys.executable).with_name(name))


def credential(text: str, name: str) -> str:
    """One field of the block that the engine prints at its first start."""
    found = re.search(rf"{name}=(\S+)", text)
    if found is None:
        raise Unavailable("the engine printed no API key; remove .headway/demo and try again")
    return found[1]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, gently first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
