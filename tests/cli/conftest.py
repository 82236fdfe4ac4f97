"""Engines, and people at command lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.engine.tests.rest.boxes import Box, boxed
from tests.cli.operators import Operator


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """An engine for all tests of a module."""
    yield from boxed(tmp_path_factory.mktemp("engine"), sqlite=False)


@pytest.fixture
def newcomer(box: Box, tmp_path: Path) -> Operator:
    """Somebody who has not told `miractl` anything yet."""
    return Operator(tmp_path / "miractl", box=box)


@pytest.fixture(scope="module")
def admin(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """An admin who is logged in."""
    return Operator(tmp_path_factory.mktemp("admin"), box=box).log_in()


@pytest.fixture(scope="module")
def watcher(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Somebody with the role operator, who may look and no more."""
    return Operator(tmp_path_factory.mktemp("operator"), box=box).log_in("operator")
