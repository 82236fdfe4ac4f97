"""Names mean what they would if Python ran the module; where only that would tell, they are refused."""

from __future__ import annotations

import pytest
from authoring import Author

LIST = "X = [3, 1]\n"


@pytest.mark.parametrize(
    "before",
    [
        "X = 3\nfrom math import pi as X",
        "from os import *\nX = 3\nfrom math import *",
        "X = 3\nif (X := 4): pass",
        "X = 3\n[X := one for one in (1, 2)]",
        "X = 3\ndef change():\n    global X\n    X = 4\nchange()",
        "X = 3\ndef X(): pass",
        "X = 3\nclass X: pass",
        "X = 3\ndel X",
        "X = 3\nfor i, X in [(1, 2)]: pass",
        "X = 3\nwith open('x') as X: pass",
        "X = 3\ntry: pass\nexcept OSError as X: pass",
        "X = 3\nmatch 4:\n    case X: pass",
        "X = 3\nX += 1",
        f"{LIST}X[0] = 4",
        f"{LIST}del X[0]",
        f"{LIST}X.sort()",
        f"{LIST}kept = X.pop()",
        f"{LIST}Y = X\nY.append(4)",
        f"{LIST}Y = {{'k': X}}\nY['k'].append(4)",
        f"{LIST}for one in [X]:\n    one.append(4)",
        f"{LIST}import bisect\nbisect.insort(X, 2)",
        f"{LIST}class Other:\n    X.append(4)",
        f"{LIST}def change():\n    X.append(4)\nchange()",
        "X = {'k': [1]}\nX['k'].append(2)",
    ],
)
def test_a_constant_that_may_have_another_value_at_last_is_refused(author: Author, before: str) -> None:
    (problem,) = author.mistakes("return self.agents.a(X)", before=before)

    assert problem.message == "workflow constant 'X' must be JSON-serializable and side-effect free"


@pytest.mark.parametrize(
    "before",
    [
        f"{LIST}Y = sorted(X)\nY.append(4)",
        f"{LIST}print(len(X), X[0], X.index(3), X.copy())",
        f"{LIST}def later():\n    X.append(4)",
        f"{LIST}Y = [X for X in (1, 2)]",
        f"{LIST}def later(X):\n    X = 4",
        f"{LIST}class Other:\n    X = 4",
        f"{LIST}for one in X:\n    print(one)",
        "X: list = [3, 1]",
        "N = 3\nX = [N, 1]\nprint(str(N).upper(), f'{N}')",
    ],
)
def test_a_constant_that_is_only_read_keeps_its_value(author: Author, before: str) -> None:
    manifest = author.compile("return self.agents.a(X)", before=before)

    assert manifest["initial_inputs"] == {"a": [{"args": [[3, 1]], "kwargs": {}}]}


def test_a_name_that_the_program_assigns_never_means_the_constant_of_that_name(author: Author) -> None:
    body = "x = self.agents.a(LIMIT)\nLIMIT = self.agents.b(x)\nreturn self.agents.c(x, LIMIT)"

    (problem,) = author.mistakes(body, before="LIMIT = 3")

    assert problem.message == "unknown workflow constant 'LIMIT'"
    assert "assigns it, and is not before this one" in problem.hint


def test_the_workflow_itself_keeps_its_name(author: Author) -> None:
    body = "self = self.agents.a(1)\nx = [self.agents.b(1) for self in [1]]\nreturn self.agents.c(1)"

    assert ["self is the workflow" in problem.hint for problem in author.mistakes(body)] == [True, True]


@pytest.mark.parametrize("parameter", ["LIMIT=7", "*LIMIT", "*, LIMIT=7", "**LIMIT"])
def test_what_a_run_would_be_given_is_refused_and_never_taken_for_a_constant(
    author: Author, parameter: str
) -> None:
    text = author.module("return self.agents.a(LIMIT)", before="LIMIT = 3")
    author.write("flow.py", text.replace("def run(self)", f"def run(self, {parameter})"))

    (problem,) = author.refused("flow.py")

    assert problem.message == "the workflow's run takes nothing but self"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    @workflow.run",
            "    def run(self): ...\n    @workflow.run",
            "'run' more than",
        ),
        ("@workflow.run", "def other(self): self.agents = 1\n    @workflow.run", "uniquely resolve"),
        ("= Agents()\n", "= Agents()\n        self.agents, x = 1, 2\n", "uniquely resolve"),
        ("= Agents()\n", "= Agents()\n        del self.agents\n", "uniquely resolve"),
        ("    def plain(self)", "    a = b\n    def plain(self)", "uniquely resolve"),
        ("\n\n@workflow.defn", "\nAgents = Agents\n\n@workflow.defn", "uniquely resolve"),
    ],
)
def test_what_is_defined_twice_is_refused(author: Author, old: str, new: str, message: str) -> None:
    author.write("flow.py", author.module("return self.agents.a(1)").replace(old, new, 1))

    assert [message in problem.message for problem in author.refused("flow.py")] == [True]


def test_an_inherited_agent_is_found_where_python_finds_it(author: Author) -> None:
    text = """
from mn_sdk import agent, workflow

class Base:
    @agent.defn(name="base")
    def a(self, x): ...

class Left(Base): ...

class Right(Base):
    @agent.defn(name="right")
    def a(self, x): ...

class Agents(Left, Right): ...

@workflow.defn(name="w")
class W:
    def __init__(self):
        self.agents = Agents()
    @workflow.run
    def run(self):
        return self.agents.a(1)
"""
    assert author.compile_text(text)["entrypoints"] == ["right"]


def test_an_input_has_one_default_and_true_is_not_one(author: Author) -> None:
    body = "return self.agents.a(workflow.input('q', default=1), workflow.input('q', default=True))"

    (problem,) = author.mistakes(body)

    assert problem.message == "input 'q' has two defaults, 1 and True"


def test_an_import_within_a_function_is_no_better_for_being_relative(author: Author) -> None:
    text = author.module("return self.agents.a(1)", before="def later():\n    from . import other")
    author.write("flow.py", text)

    (problem,) = author.refused("flow.py")

    assert problem.message.startswith("a bundle's sources are no package")
