"""A runtime in memory, and clients that see nothing of this machine's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.engine.tests.rpc.runtime import Served, served


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of its own, and none of the variables that clients read."""
    for name in os.environ:
        if name.startswith("MN_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "mn"
    monkeypatch.setenv("MN_HOME", str(folder))
    return folder


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
