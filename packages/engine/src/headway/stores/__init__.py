"""Journals and records: one SQLite file, a PostgreSQL database, or memory for the simulator."""

from __future__ import annotations

from urllib.parse import unquote

from headway_wire.errors import Invalid

from headway.ports import Store


async def open_store(url: str) -> Store:
    """The store that `url` names, opened and brought to the newest schema.

    url: a path or ``sqlite:PATH`` (also ``sqlite:///absolute/path``), ``postgresql://...``, or ``memory:``.
    Raises Invalid for any other, and whatever opening the store raises.
    """
    scheme, separator, rest = url.partition(":")
    match scheme if separator else "":
        case "memory":
            from headway.stores.memory import MemoryStore  # Each store is imported only where it is used.

            return MemoryStore()
        case "postgresql" | "postgres":
            from headway.stores.postgres import PostgresStore

            return await PostgresStore.open(url)
        case "sqlite":
            path = unquote(rest.removeprefix("//"))
        case _ if "://" in url:
            raise Invalid(
                f"{scheme}:// names no kind of store. Use a path, sqlite:PATH, postgresql://... or memory:",
                code="store_url",
            )
        case _:
            path = url
    if not path:
        raise Invalid(f"{url!r} names no file. Use a path or sqlite:PATH", code="store_url")
    from headway.stores.sqlite import SqliteStore

    return await SqliteStore.open(path)
