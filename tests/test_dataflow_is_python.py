"""A compiled program does what Python would do: the same calls with the same arguments, the same result.

Random programs with branches, early returns and scatters are run twice: by Python, as they are written, and
from their compiled `dataflow`, with the functions by which the engine evaluates it.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from headway.core.dataflow import holds, value_of
from headway.core.world import CannotEvaluate
from headway_wire.manifest import Dataflow, read
from hypothesis import event, given, settings
from hypothesis import strategies as st
from mn_sdk.compiler import BundleCompileError, compile_source

AGENTS = 12
DEPTH = 3

HEAD = """
from mn_sdk import agent, workflow

TOPIC = workflow.input("topic", default={"n": 2, "tag": "tea", "items": [1, 2]})
LIMIT = 3

class Agents:
""" + "".join(
    f"    @agent.defn()\n    def m{number}(self, *args, **kwargs): return WORK('m{number}', args, kwargs)\n"
    for number in range(AGENTS)
)

TAIL = """
@workflow.defn("random")
class W:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
"""


class Programs:
    """Writes one random program, line by line."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._agents = list(draw(st.permutations(range(AGENTS))))
        self.lines: list[str] = []

    def write(self) -> str:
        names = ["x0"]
        self.lines.append(f"        x0 = {self._call([])}")
        if not self._block(names, indent=8, depth=0):
            self.lines.append(f"        return {self._one(names)}")
        return "\n".join(self.lines)

    def _pick(self, *choices: str) -> str:
        return self._draw(st.sampled_from(choices))

    def _count(self, least: int, most: int) -> int:
        return self._draw(st.integers(least, most))

    def _one(self, names: list[str]) -> str:
        return self._pick(*names)

    def _value(self, names: list[str]) -> str:
        known = [
            f"{name}{part}"
            for name in [*names, "TOPIC"]
            for part in ("", "['n']", "['items'][-1]", ".get('no')")
        ]
        value = self._pick("1", "'text'", "None", "LIMIT", *(known if names else ["TOPIC"]))
        return self._pick(value, f"[{value}, 0]", f"{{'k': {value}}}")

    def _call(self, names: list[str], first: str = "") -> str:
        args = [first] if first else []
        args += [self._value(names) for _ in range(self._count(0, 2))]
        args += [f"key={self._value(names)}"] if self._count(0, 1) else []
        return f"self.agents.m{self._agents.pop()}({', '.join(args)})"

    def _step(self, names: list[str]) -> str:
        if names and self._count(0, 3) == 0:
            items = self._pick("TOPIC['items']", "[1, 'b']", f"{self._one(names)}['items']")
            return f"[{self._call(names, 'i')} for i in {items}]"
        return self._call(names)

    def _condition(self, names: list[str]) -> str:
        subject = self._pick(*names, "TOPIC")
        test = self._pick(
            f"{subject}['n'] > {self._count(0, 3)}",
            f"{self._count(0, 3)} <= {subject}['n']",
            f"{subject}['tag'] == 'tea'",
            f"{subject}['tag'] in ('tea', 'm1', 'm2')",
            f"'m' in {subject}['tag']",
            f"{subject}.get('no')",
            f"{subject}.get('no') is None",
            f"not {subject}['items']",
            f"{subject}",
        )
        if self._count(0, 3) == 0:
            return f"({test} {self._pick('and', 'or')} {self._condition(names)})"
        return test

    def _block(self, names: list[str], *, indent: int, depth: int) -> bool:
        """Write statements; whether they end with a return."""
        pad = " " * indent
        for _ in range(self._count(1, 3)):
            if len(self._agents) < 4:
                break
            if depth < DEPTH and self._count(0, 1):
                if self._if(names, indent=indent, depth=depth):
                    return True
            else:
                name = f"y{len(self.lines)}"
                step = self._step(names)
                self.lines.append(f"{pad}{name} = {step}")
                if not step.startswith("["):
                    names.append(name)
        if depth and self._count(0, 3) == 0 and names:
            self.lines.append(f"{pad}return {self._pick(self._one(names), f'[{self._one(names)}, 1]')}")
            return True
        return False

    def _if(self, names: list[str], *, indent: int, depth: int) -> bool:
        pad = " " * indent
        arms: list[tuple[list[str], bool]] = []
        target = f"z{len(self.lines)}"
        words = ["if", *["elif"] * self._count(0, 2), *(["else"] if self._count(0, 2) else [])]
        for word in words:
            test = "" if word == "else" else f" {self._condition(names)}"
            self.lines.append(f"{pad}{word}{test}:")
            inner = list(names)
            ended = self._block(inner, indent=indent + 4, depth=depth + 1)
            if not ended:
                value = (
                    self._pick(*inner) if len(self._agents) < 3 or self._count(0, 1) else self._call(inner)
                )
                self.lines.append(f"{pad}    {target} = {value}")
            arms.append((inner, ended))
        if words[-1] == "else":
            if all(ended for _, ended in arms):
                return True
            names.append(target)
        return False


@st.composite
def programs(draw: st.DrawFn) -> str:
    return Programs(draw).write()


def work(calls: list[Any], name: str, args: Any, kwargs: Any) -> Any:
    """What every agent does: tells what it was given, in an object that conditions can ask about."""
    given = json.loads(json.dumps([args, kwargs], sort_keys=True))  # The order of keys has no meaning.
    calls.append([name, given])
    number = sum(map(ord, json.dumps(given))) % 4
    return {"n": number, "tag": name, "items": [given, number][: number % 3], "given": given}


def imported(file: Path) -> Any:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location("a_random_program", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function(expression: str) -> Callable[[Any], Any]:
    """What an expression makes of `x`, by Python."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "asked.py"
        file.write_text(f"def asked(x):\n    return {expression}\n")
        asked: Callable[[Any], Any] = imported(file).asked
    return asked


def by_python(file: Path) -> tuple[Any, list[Any]]:
    """(result, calls) of a program when it is executed."""
    calls: list[Any] = []
    module = imported(file)
    module.WORK = lambda name, args, kwargs: work(calls, name, args, kwargs)
    module.TOPIC = module.TOPIC.default
    return module.W().run(), calls


def by_dataflow(flow: Dataflow) -> tuple[Any, list[Any]]:
    """(result, calls) of a compiled program."""
    calls: list[Any] = []
    results: dict[str, Any] = {}
    scope: dict[str, Any] = {"calls": results, "inputs": flow.inputs}
    for call in flow.calls:
        if not holds(call.condition, scope):
            results[call.id] = None
            continue
        scopes = [scope]
        if call.each is not None:
            scopes = [{**scope, "item": item} for item in value_of(call.each, scope)]
        done = []
        for inner in scopes:
            args = [value_of(value, inner) for value in call.args]
            kwargs = {name: value_of(value, inner) for name, value in call.kwargs.items()}
            done.append(work(calls, call.id, args, kwargs))
        results[call.id] = done if call.each is not None else done[0]
    return value_of(flow.result, scope), calls


@given(programs())
@settings(max_examples=300)
def test_a_compiled_program_calls_and_returns_what_python_would(body: str) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "flow.py"
        file.write_text(HEAD + TAIL + body + "\n")
        try:
            result, calls = by_python(file)
        except (IndexError, TypeError, KeyError):
            event("the program itself fails")  # A list that is empty, say; what is compiled fails there too.
            return
        try:
            flow = read(json.loads(compile_source(file, "W").manifest_json)).dataflow
        except BundleCompileError as refused:
            assert all("the condition of this branch has more than" in str(one) for one in refused.problems)
            event("too many conditions")
            return
    if flow is None:
        event("a chain")
        return
    event("compared")

    found, made = by_dataflow(flow)

    assert found == result
    assert _sorted(made) == _sorted(calls)


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 0.0, 1.5, 2.0, "", "0", "1", "2", "tea", "t"),
    *([], [1], [True, "k"], [[1]], {}, {"k": 1}, {"k": {"j": None}}, {"1": 2}, {"k": [1, 2], "t": "k"}),
)
CONDITIONS = (
    *("x", "not x", "x is None", "x is not None", "x == 1", "x != True", "x == '1'", "x == [1]", "x == None"),
    *("x > 0", "x >= 1.5", "x < 2", "x <= 1", "0 < x <= 1", "1 >= x", "not x < 1", "x > 0 and x == 1"),
    *("x in [1, 'tea']", "x in 'tea'", "x in {'k': 1}", "x not in (True, None)", "x in []", "x in [[1]]"),
    *("1 in x", "'k' in x", "'t' not in x", "None in x", "[1] in x"),
    *("x[0]", "x[-1] == 1", "x['k']", "x['k']['j'] is None", "x[0][0] == 't'", "x['1'] > 1"),
    *("x.get('k')", "x.get('k') is None", "x.get('k').get('j')", "x.get('k') > 0", "x.get(1)"),
    *("x or x['k']", "x is None or x['k'] == 1", "x and x[0] == 't'"),
)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_asks_what_python_would_ask_and_fails_where_it_would(condition: str) -> None:
    body = f"        if {condition}:\n            x = 1\n        else:\n            x = 0\n"
    body += "        return [r, x]\n"
    with TemporaryDirectory() as folder:
        file = Path(folder) / "flow.py"
        file.write_text(HEAD + TAIL + "        x = self.agents.m0()\n        r = self.agents.m1()\n" + body)
        flow = read(json.loads(compile_source(file, "W").manifest_json)).dataflow
    assert flow is not None

    python = function(condition)
    said: dict[str, bool | None] = {}
    meant: dict[str, bool | None] = {}
    for value in VALUES:
        told = json.dumps(value)
        try:
            meant[told] = bool(python(value))
        except (TypeError, KeyError, IndexError, AttributeError):
            meant[told] = None
        try:
            said[told] = value_of(flow.result, {"calls": {"m0": value}, "inputs": {}})[1] == 1
        except CannotEvaluate:
            said[told] = None

    assert said == meant


@pytest.mark.parametrize("part", ["x[0]", "x[-1]", "x['k']", "x['k'][0]", "x.get('k')", "x['k'].get('j')"])
def test_a_part_of_a_result_is_what_python_would_find(part: str) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "flow.py"
        file.write_text(HEAD + TAIL + f"        x = self.agents.m0()\n        return {{'part': {part}}}\n")
        flow = read(json.loads(compile_source(file, "W").manifest_json)).dataflow
    assert flow is not None
    python = function(part)

    for value in VALUES:
        try:
            meant = python(value)
        except (TypeError, KeyError, IndexError, AttributeError):
            with pytest.raises(CannotEvaluate):
                value_of(flow.result, {"calls": {"m0": value}, "inputs": {}})
        else:
            assert value_of(flow.result, {"calls": {"m0": value}, "inputs": {}}) == {"part": meant}


def _sorted(calls: list[Any]) -> list[str]:
    """Calls in an order that does not depend on who was first: independent calls run in any."""
    return sorted(json.dumps(call, sort_keys=True) for call in calls)
