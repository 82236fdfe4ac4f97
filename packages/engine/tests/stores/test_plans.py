"""SQLite: no list, claim or append walks or sorts a whole table, however long queue and history are."""

from __future__ import annotations

from typing import Any

import apsw
import pytest
from headway.stores.queries import load_migrations, load_queries

WALKS = {
    "run_states": ("sqlite_autoindex_runs_1", "sqlite_autoindex_journal_1"),
    "spent": ("PRIMARY KEY",),
    "histories": ("sqlite_autoindex_runs_1", "sqlite_autoindex_snapshots_1"),
    "entries_since": ("sqlite_autoindex_journal_1",),
    "lines": ("sqlite_autoindex_journal_1",),
    "count": ("runs_by_",),
    "claimable": ("runs_by_owner",),
    "give_up": ("runs_by_owner",),
    "due": ("runs_by_wake",),
    "head": ("sqlite_autoindex_runs_1",),
    "heads_of_tenant": ("runs_by_tenant",),
    "heads_of_workflow": ("runs_by_workflow",),
    "heads_of_status": ("runs_by_status",),
    "heads_of_parent": ("runs_by_parent",),
    "gate": ("sqlite_autoindex_gates_1",),
    "gates_of_tenant": ("gates_by_tenant",),
    "gates_of_status": ("gates_by_status",),
    "gates_of_run": ("gates_by_run",),
    "record": ("sqlite_autoindex_records_1",),
    "records": ("sqlite_autoindex_records_1",),
}
"""The queries that must stay fast, and the indexes that they walk."""

TABLES = ("runs", "journal", "gates", "spends", "snapshots", "records")


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for migration in load_migrations("sqlite"):
        connection.execute(migration.sql)
    return connection


class Anything(dict[str, Any]):
    """Values for whichever parameters a statement has."""

    def __missing__(self, name: str) -> Any:
        return "[]"


@pytest.mark.parametrize("name", WALKS)
def test_a_query_walks_its_index(database: apsw.Connection, name: str) -> None:
    rows = database.execute("EXPLAIN QUERY PLAN " + load_queries("sqlite")[name], Anything())
    steps = [str(row[3]) for row in rows]

    scans = [
        step for step in steps for table in TABLES if step.startswith(f"SCAN {table}") and "INDEX" not in step
    ]
    assert scans == [], steps
    for index in WALKS[name]:
        assert any(index in step for step in steps), steps


@pytest.mark.parametrize("name", [name for name in WALKS if name.startswith(("heads", "gates", "claimable"))])
def test_a_page_is_read_in_its_order_and_not_sorted(database: apsw.Connection, name: str) -> None:
    rows = database.execute("EXPLAIN QUERY PLAN " + load_queries("sqlite")[name], Anything())

    assert [row[3] for row in rows if "TEMP B-TREE" in str(row[3])] == []
