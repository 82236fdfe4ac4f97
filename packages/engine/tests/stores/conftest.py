"""One store of each kind for the conformance suite, and one PostgreSQL server for the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.engine.tests.stores.shelves import Shelf, memory_shelf, sqlite_shelf


@pytest.fixture(params=("memory", "sqlite"))
def kind(request: pytest.FixtureRequest) -> str:
    """Every test that asks for it runs once on each kind of store."""
    return str(request.param)


@pytest.fixture
def shelf(kind: str, tmp_path: Path) -> Iterator[Shelf]:
    """An empty store of each kind."""
    opened = memory_shelf() if kind == "memory" else sqlite_shelf(tmp_path)
    yield opened
    opened.close()
