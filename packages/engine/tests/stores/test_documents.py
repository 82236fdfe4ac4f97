"""What the documents say about the store is true."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import apsw
from headway.stores.queries import load_migrations

DOCS = Path(__file__).parents[4] / "docs" / "reference"


def test_every_error_code_of_the_stores_has_a_page_and_every_page_a_code() -> None:
    source = "".join(
        file.read_text("utf-8")
        for file in resources.files("headway.stores").iterdir()
        if file.name.endswith(".py")
    )
    codes = set(re.findall(r'code="([a-z_]+)"', source))
    pages = {page.stem for page in (DOCS / "errors").glob("*.md")}

    assert codes <= pages
    assert {page for page in pages if page.startswith("store_")} <= codes


def test_the_reference_describes_the_tables_that_there_are() -> None:
    connection = apsw.Connection(":memory:")
    for migration in load_migrations("sqlite"):
        connection.execute(migration.sql)
    tables = {
        str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    described = set(re.findall(r"^\| `([a-z]+)` \|", (DOCS / "store.md").read_text("utf-8"), re.MULTILINE))

    assert described == tables


def test_the_queries_of_the_reference_run() -> None:
    connection = apsw.Connection(":memory:")
    for migration in load_migrations("sqlite"):
        connection.execute(migration.sql)
    queries = re.findall(r'"(SELECT .*?)"', (DOCS / "store.md").read_text("utf-8"))

    assert len(queries) >= 3
    for query in queries:
        assert connection.execute(query).get is None
