"""Engines to speak to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.engine.tests.rest.boxes import Box, boxed


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """An engine on a memory store."""
    yield from boxed(tmp_path, sqlite=False)


@pytest.fixture(scope="module")
def shared_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """An engine for all tests of a module that leave no trace on each other."""
    yield from boxed(tmp_path_factory.mktemp("engine"), sqlite=False)


@pytest.fixture
def durable_box(tmp_path: Path) -> Iterator[Box]:
    """An engine on a SQLite file."""
    yield from boxed(tmp_path, sqlite=True)
