"""Named queries and numbered migrations, read from the `.sql` files beside this module.

A query file holds sections.  Each begins with ``-- name: NAME`` and a comment that says what it is for.
A migration is one file, ``NNNN_name.sql``; it is run once, in order, and never edited after a release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal

from headway_wire.errors import Broken

Dialect = Literal["sqlite", "postgres"]

_SECTION = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\n", re.MULTILINE)
_MIGRATION = re.compile(r"^(?P<number>[0-9]{4})_(?P<name>[a-z0-9_]+)\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema.  Numbers count from 1 without gaps."""

    number: int
    name: str
    sql: str


def load_queries(dialect: Dialect) -> dict[str, str]:
    """All named queries of one database, by name, without their comments."""
    found: dict[str, str] = {}
    for file in _files("sql", dialect):
        parts = _SECTION.split(file.read_text("utf-8"))
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise Broken(f"the query {name} is written twice in sql/{dialect}", code="store_queries")
            found[name] = _without_comments(body)
    return found


def load_migrations(dialect: Dialect) -> list[Migration]:
    """The migrations of one database, in order."""
    found = []
    for file in _files("migrations", dialect):
        match = _MIGRATION.match(file.name)
        if match is None:
            raise Broken(f"{file.name} is not the name of a migration", code="store_queries")
        found.append(Migration(int(match["number"]), match["name"], file.read_text("utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise Broken(
            f"the migrations of {dialect} are not numbered from 1 without gaps", code="store_queries"
        )
    return found


def _files(folder: str, dialect: Dialect) -> list[Traversable]:
    root = resources.files(__package__) / folder / dialect
    return sorted((file for file in root.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)


def _without_comments(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().removesuffix(";")
