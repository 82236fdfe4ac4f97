"""Words and calls that have no place here: unfinished work, unsafe calls, waiting in tests.

This file names what it looks for, so the search for words leaves it out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.tree import Finding, PythonFile, Tree, planted, report

OWN = "tests/tidy/test_words.py"

_UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")

_UNSAFE_MODULES = frozenset({"pickle", "shelve", "marshal", "dill", "cloudpickle", "imp"})
_UNSAFE_CALLS = {
    "eval": "evaluates text as code",
    "exec": "runs text as code",
    "os.system": "hands a string to a shell",
    "os.popen": "hands a string to a shell",
    "subprocess.getoutput": "hands a string to a shell",
    "subprocess.getstatusoutput": "hands a string to a shell",
    "asyncio.create_subprocess_shell": "hands a string to a shell",
    "yaml.load": "may build any object; use yaml.safe_load",
    "yaml.unsafe_load": "may build any object; use yaml.safe_load",
    "tempfile.mktemp": "returns a name that another process can take first",
}
_SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "anyio.sleep", "sleep"})

TORTURE = "tests/torture/"
"""A program, not a test: it kills at random moments, and has to wait for them."""


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, attribute):
            return f"{_dotted(value)}.{attribute}"
        case _:
            return ""


def _calls(module: PythonFile) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(module.syntax):
        if isinstance(node, ast.Call):
            yield _dotted(node.func), node


def unfinished(tree: Tree) -> list[Finding]:
    """Marks of unfinished work in any text, and placeholders in Python."""
    findings = [
        Finding(path, number, f"{found.group()}: finish it, or leave it out and say so in the docs")
        for path, text in tree.texts.items()
        if path != OWN
        for number, line in enumerate(text.splitlines(), 1)
        if (found := _UNFINISHED.search(line))
    ]
    for module in tree.modules:
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_placeholder(node):
                findings.append(
                    Finding(module.path, node.lineno, f"{node.name} is a placeholder; leave it out")
                )
    return findings


def _is_placeholder(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether all a function does is to say that it is not there.  A hook may end so, after what it knows."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.dump(body[0])


def unsafe(tree: Tree) -> list[Finding]:
    """Calls and modules through which data can become code, or a string a command."""
    findings: list[Finding] = []
    for module in tree.modules:
        for name, line in module.imported():
            if name.split(".")[0] in _UNSAFE_MODULES:
                findings.append(Finding(module.path, line, f"imports {name}, which is unsafe to read with"))
        for name, call in _calls(module):
            if reason := _UNSAFE_CALLS.get(name.removeprefix("builtins.")):
                findings.append(Finding(module.path, call.lineno, f"{name} {reason}"))
            for keyword in call.keywords:
                if keyword.arg == "shell" and not _is_false(keyword.value):
                    findings.append(Finding(module.path, call.lineno, "hands a string to a shell"))
    return findings


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def sleeping_tests(tree: Tree) -> list[Finding]:
    """Sleeps in tests, other than sleep(0): such a test hopes, and is slow when it is right."""
    return [
        Finding(module.path, call.lineno, f"{name}: wait with tests.waiting, or use the virtual clock")
        for module in tree.modules
        if module.is_test and not module.path.startswith(TORTURE)
        for name, call in _calls_of_tests(module.syntax)
        if name in _SLEEPS and not _is_zero(call)
    ]


def _calls_of_tests(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls below `node`, but for those in functions that may sleep."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and _may_sleep(child):
            continue
        if isinstance(child, ast.Call):
            yield _dotted(child.func), child
        yield from _calls_of_tests(child)


def _may_sleep(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function waits for a condition with a bound, or is a slow action of an agent under test."""
    decorators = (item.func if isinstance(item, ast.Call) else item for item in function.decorator_list)
    slow_action = any(_dotted(decorator).rpartition(".")[2] == "action" for decorator in decorators)
    return slow_action or function.name.startswith("until")


def _is_zero(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def built_sql(tree: Tree) -> list[Finding]:
    """Statements put together from pieces where the engine meets its database."""
    takes_sql = {"execute", "executemany", "fetch", "fetchrow", "fetchval", "executescript"}
    return [
        Finding(module.path, call.lineno, "SQL put together from pieces; use a named query with bindings")
        for module in tree.modules
        if "/stores/" in module.path and not module.is_test
        for name, call in _calls(module)
        if name.rpartition(".")[2] in takes_sql
        if call.args and isinstance(call.args[0], ast.JoinedStr | ast.BinOp)
    ]


@pytest.mark.parametrize("rule", [unfinished, unsafe, sleeping_tests, built_sql])
def test_the_repository_keeps_the_rule(rule: object, repository: Tree) -> None:
    assert callable(rule)
    findings = rule(repository)

    assert not findings, report(findings)


def test_unfinished_work_is_found(tmp_path: Path) -> None:
    tree = planted(
        tmp_path,
        {
            "a.md": "fine\nTODO: later\n",
            "b.py": "def f():\n    raise NotImplementedError\n",
            "d.py": "def f(x):\n    if x:\n        return x\n    raise NotImplementedError\n",
            "c.py": "todo = 1\n",
        },
    )

    assert [str(finding).split(": ")[0] for finding in unfinished(tree)] == ["a.md:2", "b.py:1"]


def test_every_unsafe_way_is_found(tmp_path: Path) -> None:
    unsafe_lines = [
        "import pickle",
        "from shelve import open as o",
        "eval('1')",
        "exec('x = 1')",
        "import os; os.system('ls')",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import yaml; yaml.load('a')",
    ]
    safe_lines = ["import re; re.compile('a')", "subprocess.run(['ls'], shell=False)", "connection.exec('x')"]
    tree = planted(tmp_path, {"a.py": "\n".join(unsafe_lines + safe_lines)})

    assert sorted({finding.line for finding in unsafe(tree)}) == [1, 2, 3, 4, 5, 6, 7]


def test_a_sleep_is_found_in_a_test_and_nowhere_else(tmp_path: Path) -> None:
    text = "import asyncio, time\ntime.sleep(0.1)\nasyncio.sleep(delay)\nasyncio.sleep(0)\n"
    text += "def until_ready():\n    time.sleep(0.1)\n"
    text += "@agent.action(permission='READ')\ndef slow():\n    time.sleep(9)\n"
    tree = planted(tmp_path, {"tests/test_a.py": text, "src/a.py": text})

    assert [(finding.path, finding.line) for finding in sleeping_tests(tree)] == [
        ("tests/test_a.py", 2),
        ("tests/test_a.py", 3),
    ]


def test_built_sql_is_found_in_stores(tmp_path: Path) -> None:
    text = "db.execute(f'select {x}')\ndb.execute('select ' + x)\ndb.execute('select ?', (x,))\n"
    tree = planted(tmp_path, {"headway/stores/a.py": text, "headway/links/a.py": text})

    assert [(finding.path, finding.line) for finding in built_sql(tree)] == [
        ("headway/stores/a.py", 1),
        ("headway/stores/a.py", 2),
    ]
