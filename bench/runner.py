"""Measures scenarios: every sample in a fresh process and an empty folder, the sides in turn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.environments import HOME, ROOT, Missing, environment, make_home
from bench.postgres import Databases, databases
from bench.scenarios import Goal, Scenario, Side

Say = Callable[[str], None]


@dataclass(slots=True)
class Measured:
    """All samples of one side.  `missing` says why there are none."""

    side: Side
    samples: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    disturbed: int = 0
    missing: str = ""

    def median(self, metric: str) -> float | None:
        values = [sample[metric] for sample in self.samples if metric in sample]
        return statistics.median(values) if values else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a goal came to.  `value` is None when a side is missing."""

    goal: Goal
    value: float | None
    own: float | None
    other: float | None

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.goal.met(self.value)


@dataclass(frozen=True, slots=True)
class Report:
    scenario: Scenario
    sides: dict[str, Measured]
    outcomes: list[Outcome]


def measure(scenario: Scenario, *, repetitions: int, quick: bool, say: Say) -> Report:
    """Run the sides in turn, `repetitions` times; a side that fails once is left out and named."""
    sides = {side.name: Measured(side) for side in scenario.sides}
    with ExitStack() as stack:
        server = _server(stack, sides)
        for measured in sides.values():
            try:
                environment(measured.side.home)
            except Missing as error:
                measured.missing = str(error)
        for repetition in range(repetitions):
            for measured in sides.values():
                if not measured.missing:
                    say(f"{scenario.name}: {measured.side.name} {repetition + 1}/{repetitions}")
                    _add_sample(measured, server, quick=quick)
    return Report(scenario, sides, [judge(goal, sides) for goal in scenario.goals])


def _server(stack: ExitStack, sides: dict[str, Measured]) -> Databases | None:
    if not any(measured.side.postgres for measured in sides.values()):
        return None
    try:
        return stack.enter_context(databases())
    except Missing as error:
        for measured in sides.values():
            measured.missing = str(error) if measured.side.postgres else ""
        return None


def _add_sample(measured: Measured, server: Databases | None, *, quick: bool) -> None:
    busy = machine.wait_until_quiet()
    try:
        with _empty_folder() as folder, server.fresh() if server else nullcontext("") as url:
            sample = take(measured.side, folder, postgres=url if measured.side.postgres else "", quick=quick)
    except Missing as error:
        measured.missing = str(error)
        measured.samples.clear()
        return
    measured.samples.append(sample["metrics"])
    measured.facts = sample["facts"]
    measured.disturbed += busy > machine.QUIET_SHARE


def take(side: Side, folder: Path, *, postgres: str, quick: bool) -> dict[str, Any]:
    """One sample of one side.  Raises Missing when its program does not deliver one.

    `process_s` is added: the seconds of the whole process, as whoever starts it sees them.
    """
    where = environment(side.home)
    command = [where.python, "-m", f"bench.{side.module}", side.what, "--dir", str(folder)]
    command += ["--runs", str(side.runs_for(quick=quick)), *where.arguments, *side.arguments]
    command += ["--postgres", postgres] if postgres else []
    began = time.perf_counter()
    # Byte code is kept, as everywhere; peers were installed with theirs.
    told = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, errors = process.communicate(timeout=side.limit_s)
        except subprocess.TimeoutExpired:
            raise Missing(f"it took longer than {side.limit_s} s: `{' '.join(command)}`") from None
        finally:
            _end_group(process.pid)
    process_s = time.perf_counter() - began
    lines = out.strip().splitlines()
    if process.returncode != 0 or not lines:
        last = (errors.strip() or out.strip()).splitlines()[-1:] or ["nothing"]
        raise Missing(f"its program ended with status {process.returncode} and said: {last[0]}")
    sample: dict[str, Any] = json.loads(lines[-1])
    sample["metrics"]["process_s"] = process_s
    return sample


def _end_group(leader: int) -> None:
    """Leave no process of a sample behind, whatever became of the sample."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@contextmanager
def _empty_folder() -> Iterator[Path]:
    make_home()
    folder = Path(tempfile.mkdtemp(prefix="sample-", dir=HOME))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judge(goal: Goal, sides: dict[str, Measured]) -> Outcome:
    """What the medians of the sides say about a goal."""
    own = sides[goal.of].median(goal.metric)
    if not goal.to:
        return Outcome(goal, own, own, None)
    other = sides[goal.to].median(goal.to_metric or goal.metric)
    return Outcome(goal, own / other if own is not None and other else None, own, other)
