"""The repository, read once for all the rules."""

from __future__ import annotations

import pytest

from tests.tidy.tree import REPOSITORY, Tree


@pytest.fixture(scope="package")
def repository() -> Tree:
    return Tree(REPOSITORY)
