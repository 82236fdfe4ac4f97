"""What a package offers is what it lists: `__all__` and the importable names agree, and types are shipped."""

from __future__ import annotations

import importlib
import pkgutil
import types
from pathlib import Path

import pytest

from tests.tidy.tree import REPOSITORY

PACKAGES = sorted(path.parent.name for path in REPOSITORY.glob("*/*/src/*/__init__.py"))
LISTED = ("mirastack_sdk", "mirastack_provider_sdk", "mn_sdk")
"""The packages that authors import from: their top level is the public surface, so it has an `__all__`."""


def differences(module: types.ModuleType) -> list[str]:
    """How `__all__` and the public names of `module` differ; submodules do not count."""
    listed = list(getattr(module, "__all__", []))
    problems = [f"{name} is listed and cannot be imported" for name in listed if not hasattr(module, name)]
    problems += [f"{name} is listed twice" for name in sorted(set(listed)) if listed.count(name) > 1]
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }
    return problems + [f"{name} can be imported and is not listed" for name in sorted(public - set(listed))]


@pytest.mark.parametrize("name", LISTED)
def test_the_list_of_a_public_package_is_what_it_offers(name: str) -> None:
    package = importlib.import_module(name)

    assert package.__all__, f"{name} lists nothing"
    assert differences(package) == []


@pytest.mark.parametrize("name", PACKAGES)
def test_every_listed_name_of_every_module_exists(name: str) -> None:
    package = importlib.import_module(name)
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}.")
        if not found.name.endswith("__main__")
    ]

    missing = [
        f"{module.__name__}.{listed}"
        for module in modules
        for listed in getattr(module, "__all__", [])
        if not hasattr(module, listed)
    ]

    assert missing == []


@pytest.mark.parametrize("name", PACKAGES)
def test_types_are_shipped(name: str) -> None:
    (source,) = REPOSITORY.glob(f"*/*/src/{name}")

    assert (source / "py.typed").is_file()


def test_a_difference_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted_exports.py").write_text(
        "import os\nfrom pathlib import Path\n__all__ = ['gone', 'here', 'here']\nhere = 1\nextra = 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    assert differences(importlib.import_module("planted_exports")) == [
        "gone is listed and cannot be imported",
        "here is listed twice",
        "Path can be imported and is not listed",
        "extra can be imported and is not listed",
    ]
