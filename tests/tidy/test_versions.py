"""One version everywhere, and one licence.  Source: docs/decisions/0001-six-distributions-one-version.md."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from tests.tidy.tree import REPOSITORY, Finding, Tree, planted, report

_OUR_PIN = re.compile(r"^(headway[\w-]*)\s*(.*)$")


def uneven(tree: Tree, version: str) -> list[Finding]:
    """Projects, pins between them, and `__version__` that differ from `version`."""
    findings: list[Finding] = []
    for path, text in tree.texts.items():
        if not re.fullmatch(r"(packages|agents)/[^/]+/pyproject\.toml", path):
            continue
        project = tomllib.loads(text)["project"]
        if project["version"] != version:
            findings.append(Finding(path, 1, f"version {project['version']}; the others have {version}"))
        if project.get("license") != "Apache-2.0" or project.get("requires-python") != ">=3.11":
            findings.append(Finding(path, 1, "license must be Apache-2.0 and requires-python >=3.11"))
        for dependency in project["dependencies"]:
            pin = _OUR_PIN.match(dependency)
            if pin and pin[2] != f"=={version}":
                findings.append(Finding(path, 1, f"{dependency!r}: ours are pinned with =={version}"))
    for module in tree.modules:
        for node in module.syntax.body:
            match node:
                case ast.Assign(targets=[ast.Name("__version__")], value=ast.Constant(str(found))) if (
                    found != version
                ):
                    findings.append(Finding(module.path, node.lineno, f"{found}; the others have {version}"))
                case _:
                    pass
    return findings


def _version() -> str:
    project = tomllib.loads((REPOSITORY / "packages/wire/pyproject.toml").read_text())["project"]
    return str(project["version"])


def test_every_distribution_has_the_same_version(repository: Tree) -> None:
    findings = uneven(repository, _version())

    assert not findings, report(findings)


def test_the_six_distributions_are_there() -> None:
    projects = REPOSITORY.glob("packages/*/pyproject.toml")

    assert sorted(tomllib.loads(path.read_text())["project"]["name"] for path in projects) == [
        "headway",
        "headway-agents-sdk",
        "headway-cli",
        "headway-mn-sdk",
        "headway-provider-sdk",
        "headway-wire",
    ]


def test_an_uneven_version_is_found(tmp_path: Path) -> None:
    project = '[project]\nversion = "{}"\nlicense = "Apache-2.0"\nrequires-python = ">=3.11"\n'
    project += 'dependencies = ["{}"]\n'
    tree = planted(
        tmp_path,
        {
            "packages/a/pyproject.toml": project.format("0.2.0", "headway-wire==0.1.0"),
            "packages/b/pyproject.toml": project.format("0.1.0", "headway-wire>=0.1.0"),
            "packages/c/src/c/__init__.py": '__version__ = "0.3.0"\n',
            "packages/d/pyproject.toml": project.format("0.1.0", "headway-wire==0.1.0"),
        },
    )

    assert [finding.path[9] for finding in uneven(tree, "0.1.0")] == ["a", "b", "c"]
