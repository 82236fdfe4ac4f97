"""What is measured, against whom, and which ratio is aimed at.

A side is one program with its arguments; a goal compares the medians of two sides, or looks at one alone.
Source of the goals: docs/reference/benchmarks.md, "Goals".
"""

from __future__ import annotations

from dataclasses import dataclass

QUICK_SHARE = 5
"""`--quick` divides the number of runs of every side by this."""


@dataclass(frozen=True, slots=True)
class Side:
    """One program: a module of `bench`, run in the environment `home`, which measures `what`.

    home: "headway" is this project's own environment; the others are made under .bench.
    runs: how many runs, or repetitions of a latency; `runs_min` bounds what --quick makes of it.
    limit_s: a sample that takes longer is stopped and counts as failed.
    """

    name: str
    home: str
    module: str
    what: str
    runs: int
    arguments: tuple[str, ...] = ()
    postgres: bool = False
    runs_min: int = 5
    limit_s: int = 120

    def runs_for(self, *, quick: bool) -> int:
        return max(self.runs // QUICK_SHARE, min(self.runs, self.runs_min)) if quick else self.runs


@dataclass(frozen=True, slots=True)
class Goal:
    """A median, or the ratio of two, that is to be at least or at most a number.

    The value is `metric` of side `of`, divided by `to_metric` (default: the same) of side `to` when there is
    one.  A goal without a bound is printed for information.
    """

    of: str
    metric: str
    to: str = ""
    to_metric: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool | None:
        """None when nothing is aimed at."""
        if self.at_least is not None:
            return value >= self.at_least
        return value <= self.at_most if self.at_most is not None else None

    def bound(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Sides that are measured in turn, and what their medians are compared for."""

    name: str
    title: str
    sides: tuple[Side, ...]
    goals: tuple[Goal, ...]


def _headway(what: str, runs: int, *arguments: str, name: str = "Headway", postgres: bool = False) -> Side:
    return Side(name, "headway", "headway_steps", what, runs, arguments, postgres)


def _dbos(what: str, runs: int, *arguments: str, name: str = "DBOS", limit_s: int = 120) -> Side:
    return Side(name, "dbos", "peers.with_dbos", what, runs, arguments, limit_s=limit_s)


def _langgraph(what: str, runs: int) -> Side:
    return Side("LangGraph", "langgraph", "peers.with_langgraph", what, runs)


def _restate(what: str, runs: int) -> Side:
    return Side("Restate", "restate", "peers.with_restate", what, runs)


STEPS_SQLITE = Scenario(
    "steps",
    "durable steps a second in one process, SQLite at synchronous=FULL, five steps a run",
    (
        _headway("steps", 4_000),
        _dbos("steps", 400),
        _langgraph("steps", 400),
        _restate("steps", 1_000),
        Side("bare writer", "headway", "bare_writer", "steps", 4_000),
    ),
    (
        Goal("Headway", "steps_per_s", "DBOS", at_least=25),
        Goal("Headway", "steps_per_s", "LangGraph", at_least=20),
        Goal("Headway", "steps_per_s", "Restate", at_least=8),
        Goal("Headway", "steps_per_s", "bare writer", at_least=0.25),
    ),
)

STEPS_POSTGRES = Scenario(
    "postgres",
    "durable steps a second on one PostgreSQL server, five steps a run",
    (
        _headway("steps", 4_000, postgres=True),
        Side("DBOS", "dbos", "peers.with_dbos", "steps", 300, ("--threads", "4"), postgres=True),
    ),
    (Goal("Headway", "steps_per_s", "DBOS", at_least=40),),
)

STEPS_AGENT = Scenario(
    "agent",
    "durable steps a second, every step in an agent process over the stream link, many in flight",
    (
        Side("Headway", "headway", "headway_agent", "steps", 4_000),
        _restate("steps", 1_000),
        Side("bare gRPC", "headway", "peers.bare_grpc", "steps", 10_000, ("--in-flight", "64")),
    ),
    (
        Goal("Headway", "steps_per_s", "Restate", at_least=4),
        Goal("Headway", "steps_per_s", "bare gRPC", "calls_per_s", at_least=3),
    ),
)

LATENCY_AGENT = Scenario(
    "agent-idle",
    "five durable steps in an agent process, one run in flight, beside one bare unary round trip",
    (
        Side("Headway", "headway", "headway_agent", "idle", 100),
        Side("bare gRPC", "headway", "peers.bare_grpc", "idle", 2_000),
    ),
    (Goal("Headway", "p50_ms", "bare gRPC", at_most=5),),
)

LATENCY = Scenario(
    "idle",
    "one run of five steps on an idle engine, submit to done",
    (_headway("idle", 100), _dbos("idle", 100), _langgraph("idle", 100), _restate("idle", 100)),
    (
        Goal("Headway", "p50_ms", "DBOS", at_most=0.2),
        Goal("Headway", "p50_ms", "LangGraph"),
        Goal("Headway", "p50_ms", "Restate"),
    ),
)

FAN_OUT = Scenario(
    "fan-out",
    "one step, a hundred side by side, one step",
    (_headway("fan-out", 30), _dbos("fan-out", 15), _langgraph("fan-out", 30), _restate("fan-out", 30)),
    (
        Goal("Headway", "p50_ms", "DBOS", at_most=0.05),
        Goal("Headway", "p50_ms", "DBOS", "in_a_row_p50_ms"),
        Goal("Headway", "p50_ms", "LangGraph", at_most=0.3),
        Goal("Headway", "p50_ms", "Restate", at_most=0.5),
    ),
)

FIRST_RUN = Scenario(
    "first-run",
    "an empty folder to the first finished run: the whole life of one process",
    (_headway("first-run", 1), _dbos("first-run", 1)),
    (Goal("Headway", "process_s", "DBOS", at_most=0.5),),
)

BACKLOG = Scenario(
    "backlog",
    "10,000 runs of one step submitted at once",
    (
        _headway("backlog", 10_000),
        _dbos("backlog", 10_000, limit_s=240),
        _dbos("started", 1_000, name="DBOS start_workflow"),
    ),
    (
        Goal("Headway", "accepts_per_s", "DBOS", at_least=20),
        Goal("Headway", "accepts_per_s", "DBOS start_workflow"),
        Goal("Headway", "peak_memory_bytes", "DBOS", at_most=1),
        Goal("Headway", "done_s", "DBOS"),
    ),
)

SLOW_DISK = Scenario(
    "slow-disk",
    "throughput with 5 ms added to every commit, beside its own without",
    (_headway("steps", 4_000, "--commit-delay-ms", "5", name="Headway, slow disk"), _headway("steps", 4_000)),
    (Goal("Headway, slow disk", "steps_per_s", "Headway", at_least=0.4),),
)

HISTORY = Scenario(
    "history",
    "what 10,000 finished turns, and 10,000 finished runs, cost afterwards",
    (
        _headway("turns", 500),
        _headway("memory", 10_000, "--in-flight", "16", name="Headway, runs"),
    ),
    (
        Goal("Headway", "old_p50_ms", "Headway", "fresh_p50_ms", at_most=1.2),
        Goal("Headway, runs", "memory_after_bytes", "Headway, runs", "memory_before_bytes", at_most=1.2),
    ),
)

START = Scenario(
    "start",
    "`headway up` to ready, and the recovery of 1,000 open runs after SIGKILL",
    (
        Side("headway up", "headway", "headway_up", "ready", 1),
        Side("recovery", "headway", "headway_recovery", "recover", 1_000, runs_min=1_000),
    ),
    (
        Goal("headway up", "ready_s", at_most=2),
        Goal("recovery", "recovered_s", at_most=5),
    ),
)

JOBS = Scenario(
    "jobs",
    "jobs of a compiled workflow of five steps: warm workers, cold ones, and the same functions in DBOS",
    (
        Side("Headway", "headway", "headway_jobs", "warm", 200, ("--executors", "64")),
        Side("Headway, 4 executors", "headway", "headway_jobs", "warm", 200),
        Side("Headway, cold", "headway", "headway_jobs", "cold", 60),
        _dbos("steps", 400),
        _dbos("queued", 200, name="DBOS, queued"),
    ),
    (
        Goal("Headway", "steps_per_s", "Headway, cold", at_least=10),
        Goal("Headway", "steps_per_s", "DBOS", at_least=5),
        Goal("Headway", "steps_per_s", "DBOS, queued"),
        Goal("Headway, 4 executors", "steps_per_s", "Headway, cold"),
        Goal("Headway, 4 executors", "steps_per_s", "DBOS"),
    ),
)

DRAIN = Scenario(
    "drain",
    "10,000 messages through a router and an aggregator, every turn durable",
    (Side("Headway", "headway", "headway_jobs", "drain", 10_000),),
    (
        Goal("Headway", "turns_per_s", at_least=1_000),
        Goal("Headway", "late_us", "Headway", "early_us", at_most=1.2),
    ),
)


def _compiling(name: str, what: str, runs: int) -> tuple[Side, Side]:
    """Ours, which compiles the documentation's workflow as printed, and the published one, which cannot."""
    return (
        Side(f"Headway{name}", "headway", "compiling", what, runs),
        Side(f"published{name}", "mirrorneuron", "compiling", what, runs, ("--inline",)),
    )


COMPILE = Scenario(
    "compile",
    "a bundle from the workflow of the SDK's documentation, and from one of 200 steps",
    (
        *_compiling("", "warm", 60),
        *_compiling(", process", "process", 15),
        *_compiling(", 200 steps", "long", 5),
    ),
    (
        Goal("Headway", "p50_ms", "published", at_most=1),
        Goal("Headway, process", "p50_ms", "published, process", at_most=0.6),
        Goal("Headway, 200 steps", "first_cpu_ms", at_most=150),
        Goal("Headway, 200 steps", "first_cpu_ms", "published, 200 steps"),
    ),
)

HELP = Scenario(
    "help",
    "`mn --help`, start of Python included",
    (
        Side("Headway", "headway", "peers.with_mn", "help", 20),
        Side("published mn", "mirrorneuron", "peers.with_mn", "help", 20),
    ),
    (Goal("Headway", "p50_ms", "published mn", at_most=0.35),),
)

SCENARIOS = (
    STEPS_SQLITE,
    STEPS_POSTGRES,
    STEPS_AGENT,
    LATENCY_AGENT,
    LATENCY,
    FAN_OUT,
    FIRST_RUN,
    BACKLOG,
    SLOW_DISK,
    HISTORY,
    START,
    JOBS,
    DRAIN,
    COMPILE,
    HELP,
)
