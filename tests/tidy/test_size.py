"""Size ceilings: a module is one sitting, a function one screen.  Source: CONTRIBUTING.md, "Size"."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.tidy.tree import Finding, Tree, planted, report

MODULE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70


def too_long(tree: Tree) -> list[Finding]:
    findings: list[Finding] = []
    for module in tree.modules:
        lines = module.text.count("\n")
        if lines > MODULE_LINES_MAX:
            findings.append(Finding(module.path, 1, f"{lines} lines; a module stops at {MODULE_LINES_MAX}"))
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    what = f"{node.name} has {lines} lines; a function stops at {FUNCTION_LINES_MAX}"
                    findings.append(Finding(module.path, node.lineno, what))
    return findings


def test_modules_and_functions_stay_below_their_ceilings(repository: Tree) -> None:
    findings = too_long(repository)

    assert not findings, report(findings)


def test_a_long_module_and_a_long_function_are_found(tmp_path: Path) -> None:
    tree = planted(
        tmp_path,
        {
            "long_module.py": "x = 1\n" * 701,
            "long_function.py": "def f():\n" + "    x = 1\n" * 70,
            "at_the_limit.py": "def f():\n" + "    x = 1\n" * 69 + "x = 1\n" * 630,
        },
    )

    assert [finding.path for finding in too_long(tree)] == ["long_function.py", "long_module.py"]
