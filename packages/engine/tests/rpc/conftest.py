"""Runtimes to call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from packages.engine.tests.rpc.runtime import Served, served


@pytest.fixture
def listening() -> Iterator[Served]:
    """A runtime in memory that anybody may call."""
    with served() as found:
        yield found


@pytest.fixture
def locked() -> Iterator[Served]:
    """A runtime in memory whose token is `s3cret-tok`."""
    with served(token="s3cret-tok") as found:
        yield found
