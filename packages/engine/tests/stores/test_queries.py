"""The named queries and migrations are what their loader promises."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from headway.stores.queries import Dialect, load_migrations, load_queries

SOURCES = {
    "sqlite": ("sqlite.py", "sqlite_desks.py"),
    "postgres": ("postgres.py", "postgres_server.py", "postgres_writer.py"),
}


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_every_query_is_described_and_used_and_every_used_query_exists(dialect: Dialect) -> None:
    stores = resources.files("headway.stores")
    source = "".join((stores / name).read_text("utf-8") for name in SOURCES[dialect])
    text = "".join(file.read_text("utf-8") for file in (stores / "sql" / dialect).iterdir())
    queries = load_queries(dialect)

    undescribed = re.findall(r"^-- name: (\w+)\n(?!-- \w)", text, re.MULTILINE)
    unused = [name for name in queries if f'"{name}"' not in source]

    assert undescribed == []
    assert unused == []
    assert all(query and not query.endswith(";") for query in queries.values())


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_migrations_are_numbered_from_one(dialect: Dialect) -> None:
    migrations = load_migrations(dialect)

    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))
    assert all(migration.sql.startswith("-- ") for migration in migrations)
