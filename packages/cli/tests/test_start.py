"""`miractl --help` and `mn --help` answer at once: they import nothing that costs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

CALL = "import sys; sys.argv = {words!r}; from headway_cli.{program} import main; main()"
COSTLY = {
    "pydantic",
    "grpc",
    "google",
    "mn_sdk",
    "httpx",
    "fastapi",
    "rich",
    "asyncio",
    "msgspec",
    "yaml",
    "ssl",
    "http.client",
    "rfc8785",
}
RATIO_MAX = 3.0
TRIES = 7


def _imported(program: str, *words: str) -> set[str]:
    """The modules that a call imports, by what the interpreter itself says."""
    code = CALL.format(program=program, words=[program, *words])
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def _fastest_s(code: str) -> float:
    """The shortest of several runs: what else the machine does only ever adds to it."""

    def once() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin

    return min(once() for _ in range(TRIES))


@pytest.mark.parametrize("program", ["miractl", "mn"])
@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--version",)])
def test_help_imports_nothing_that_costs(program: str, words: tuple[str, ...]) -> None:
    imported = _imported(program, *words)

    assert "click" in imported, "the check looks at the right thing"
    costly = {name for name in imported for bad in COSTLY if name == bad or name.startswith(f"{bad}.")}
    assert not costly


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("miractl", ("workflow", "run")),
        ("mn", ("job", "monitor")),
        ("mn", ("blueprint", "run")),
        ("mn", ("schedule", "create")),
        ("mn", ("node", "drain")),
    ],
)
def test_help_of_a_command_draws_nothing_and_speaks_no_grpc(program: str, words: tuple[str, ...]) -> None:
    imported = _imported(program, *words, "--help")

    assert not imported & {"rich", "grpc", "asyncio", "msgspec", "pydantic", "httpx"}


@pytest.mark.parametrize("program", ["miractl", "mn"])
def test_help_costs_little_more_than_click_itself(program: str) -> None:
    """A ratio, since machines differ.  Source: the budget of 300 ms, where click alone takes about 100."""
    help_s = _fastest_s(CALL.format(program=program, words=[program, "--help"]))

    assert help_s < RATIO_MAX * _fastest_s("import click")
