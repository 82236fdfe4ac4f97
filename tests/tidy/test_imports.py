"""The layers hold: import contracts, a core of the standard library only, and dependencies that are declared.

The contracts are in pyproject.toml, `[tool.importlinter]`; `make check` applies them.  Here each of them is
seen to find a violation, planted in a copy of the source.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.tidy.tree import REPOSITORY, Finding, Tree, planted, report

CORE = "packages/engine/src/headway/core/"
CORE_MAY_SEE = ("headway.core", "headway_wire.errors", "headway_wire.manifest")
"""Beside the standard library.  Source: ARCHITECTURE.md, "The house"."""

VIOLATIONS = [
    ("workspace", "packages/wire/src/headway_wire/planted.py", "import headway.core"),
    ("workspace", "packages/agents-sdk/src/mirastack_sdk/planted.py", "import headway.core"),
    ("workspace", "packages/engine/src/headway/planted.py", "import mirastack_sdk"),
    ("workspace", "packages/mn-sdk/src/mn_sdk/planted.py", "import mirastack_provider_sdk"),
    ("workspace", "packages/mn-sdk/src/mn_sdk/planted.py", "import headway_cli"),
    ("cli", "packages/cli/src/headway_cli/planted.py", "import headway.core"),
    ("cli", "packages/cli/src/headway_cli/planted.py", "import mirastack_sdk"),
    ("agents", "agents/host/src/headway_agent_host/planted.py", "import headway_wire.errors"),
    ("agents", "agents/host/src/headway_agent_host/planted.py", "import headway.core"),
    ("plugins", "packages/engine/src/headway/planted.py", "import headway_agent_host"),
    ("engine", "packages/engine/src/headway/core/planted.py", "import headway.ports"),
    ("engine", "packages/engine/src/headway/ports.py", "import headway.service"),
    ("engine", "packages/engine/src/headway/service/planted.py", "import headway.stores"),
    ("engine", "packages/engine/src/headway/stores/planted.py", "import headway.service"),
    ("engine", "packages/engine/src/headway/service/planted.py", "import headway.simulation"),
    ("engine", "packages/engine/src/headway/planted.py", "import os  # A module in no layer."),
    ("api", "packages/engine/src/headway/api/planted.py", "import headway.stores"),
    ("core", "packages/engine/src/headway/core/planted.py", "import headway_wire.seal"),
]


def impure(tree: Tree) -> list[Finding]:
    """Imports of the core that are neither the standard library nor what it may see."""
    findings: list[Finding] = []
    for module in tree.modules:
        if not module.path.startswith(CORE):
            continue
        for name, line in module.imported():
            allowed = any(f"{name}.".startswith(f"{prefix}.") for prefix in CORE_MAY_SEE)
            if name == "headway.core" or (not allowed and name.split(".")[0] not in sys.stdlib_module_names):
                findings.append(Finding(module.path, line, f"the core must not import {name}"))
    return findings


def test_the_core_imports_the_standard_library_and_itself(repository: Tree) -> None:
    findings = impure(repository)

    assert not findings, report(findings)


def test_an_impure_core_is_found(tmp_path: Path) -> None:
    lines = [
        "import json", "import msgspec", "from headway.core import run",
        "from headway_wire.errors import Refused", "from headway_wire import seal",
        "from headway_wire import errors", "from headway import ports",
        "def f():\n    import yaml",
    ]  # fmt: skip
    tree = planted(
        tmp_path, {f"{CORE}a.py": "\n".join(lines), "packages/engine/src/headway/b.py": "import yaml"}
    )

    assert [finding.line for finding in impure(tree)] == [2, 5, 7, 9]


@pytest.fixture(scope="module")
def copied_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of every package, to plant violations in."""
    root = tmp_path_factory.mktemp("source")
    for source in REPOSITORY.glob("*/*/src"):
        if source.parts[-3] in ("packages", "agents"):
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, root / source.relative_to(REPOSITORY), ignore=without)
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    return root


def _contract_verdict(root: Path, contract: str) -> subprocess.CompletedProcess[str]:
    sources = os.pathsep.join(str(source) for source in root.glob("*/*/src"))
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
         "--no-cache", "--contract", contract],
        cwd=root, env={**os.environ, "PYTHONPATH": sources}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("contract", "path", "line"), VIOLATIONS)
def test_a_violation_of_each_contract_is_found(
    copied_source: Path, contract: str, path: str, line: str
) -> None:
    target = copied_source / path
    package = target.parent / "__init__.py"
    target_existed, package_existed = target.exists(), package.exists()
    before = target.read_text() if target_existed else ""
    target.parent.mkdir(exist_ok=True)
    package.touch()
    target.write_text(f"{before}\n{line}\n")

    verdict = _contract_verdict(copied_source, contract)

    target.write_text(before) if target_existed else target.unlink()
    if not package_existed:
        shutil.rmtree(target.parent)
    assert verdict.returncode == 1, verdict.stdout + verdict.stderr
    assert "BROKEN" in verdict.stdout


def test_the_contracts_hold_and_there_are_violations_for_each(copied_source: Path) -> None:
    contracts = tomllib.loads((copied_source / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]

    for contract in contracts:
        verdict = _contract_verdict(copied_source, contract["id"])
        assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    assert {contract["id"] for contract in contracts} == {name for name, _, _ in VIOLATIONS}


def _declared(project: Path) -> set[str]:
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    return {_normal(re.split(r"[^\w.-]", dependency)[0]) for dependency in declared}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imported_distributions(project: Path) -> set[str]:
    """The distributions whose modules `project` imports, itself and the standard library left out."""
    providers = {**packages_distributions(), **_OWN_MODULES}
    tops = {
        name.split(".")[0] for module in Tree(project / "src").modules for name, _ in module.imported()
    } - sys.stdlib_module_names
    own = {path.name for path in (project / "src").iterdir()}
    return {_normal(providers.get(top, [top])[0]) for top in tops - own}


_OWN_MODULES = {
    source.name: [tomllib.loads((source.parents[1] / "pyproject.toml").read_text())["project"]["name"]]
    for source in REPOSITORY.glob("[pa]*/*/src/*")
}
"""What is installed in place has no list of its modules."""

PROJECTS = sorted(path.parent for path in REPOSITORY.glob("[pa]*/*/pyproject.toml"))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_what_a_package_imports_it_declares(project: Path) -> None:
    assert _imported_distributions(project) - _declared(project) == set()


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_what_a_package_declares_it_imports(project: Path) -> None:
    assert _declared(project) - _imported_distributions(project) == set()


def test_every_direct_dependency_is_justified() -> None:
    text = (REPOSITORY / "docs/dependencies.md").read_text(encoding="utf-8")
    justified = {_normal(name) for name in re.findall(r"^\| `([\w.-]+)` \|", text, re.MULTILINE)}
    ours = {
        _normal(tomllib.loads((path / "pyproject.toml").read_text())["project"]["name"]) for path in PROJECTS
    }
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    direct = {_normal(re.split(r"[^\w.-]", name)[0]) for names in groups.values() for name in names}
    for project in PROJECTS:
        direct |= _declared(project)

    assert justified == direct - ours
