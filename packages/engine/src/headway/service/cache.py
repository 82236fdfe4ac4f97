"""The plugin cache: bytes by key in each tenant, with a lifetime, bounded, in this process.

Source: plugin protocol, section 14.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from headway_wire.errors import Forbidden, Invalid, Throttled

from headway.ports import Clock

BYTES_MAX = 256 * 1024 * 1024
ENTRIES_MAX = 100_000
VALUE_BYTES_MAX = 32 * 1024 * 1024
KEY_CHARS_MAX = 1_024
ENTRY_OVERHEAD_BYTES = 200
"""What an entry costs besides its key and value, so that many small ones are bounded too."""

HEALTH_PREFIX = "health:"


@dataclass(slots=True)
class Entry:
    """A kept value; `until_ms` 0 is for ever."""

    value: bytes
    until_ms: int
    size: int


class _Shelf:
    """One tenant's entries, least recently used first."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.size = 0

    def drop(self, key: str) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size


class PluginCache:
    """The caches of all tenants.  Each has its own bounds, so that none can push out another's entries."""

    def __init__(self, clock: Clock, *, bytes_max: int = BYTES_MAX, entries_max: int = ENTRIES_MAX) -> None:
        self._clock, self._bytes_max, self._entries_max = clock, bytes_max, entries_max
        self._shelves: dict[str, _Shelf] = {}

    def get(self, tenant: str, key: str) -> bytes | None:
        """The value, or None."""
        shelf = self._shelves.get(tenant)
        entry = shelf.entries.get(key) if shelf is not None else None
        if shelf is None or entry is None:
            return None
        if entry.until_ms and self._clock.now_ms() >= entry.until_ms:
            shelf.drop(key)
            return None
        shelf.entries.move_to_end(key)
        return entry.value

    def get_all(self, tenant: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values in the order of the keys."""
        return [self.get(tenant, key) for key in keys]

    def set(self, tenant: str, key: str, value: bytes, *, ttl_s: int, plugin: str = "") -> None:
        """Keep a value for `ttl_s` seconds, 0 for ever.  Pushes out what was not used for the longest time.

        plugin: who asks, "" when the caller does not say.
        Raises Invalid for a key that is too long or a negative lifetime, Throttled for a value that is too
        large, Forbidden for the health key of another plugin.
        """
        if not key or len(key) > KEY_CHARS_MAX:
            raise Invalid(f"a cache key has 1 to {KEY_CHARS_MAX} characters, this one has {len(key)}")
        if ttl_s < 0:
            raise Invalid(f"ttl_seconds must not be negative, it is {ttl_s}")
        if key.startswith(HEALTH_PREFIX) and key.split(":")[1:2] != [plugin]:
            raise Forbidden(f"'{key}' is reserved for the plugin it names")
        size = len(key.encode()) + len(value) + ENTRY_OVERHEAD_BYTES
        if len(value) > VALUE_BYTES_MAX or size > self._bytes_max:
            limit = min(VALUE_BYTES_MAX, self._bytes_max)
            raise Throttled(
                f"the value has {len(value)} bytes; the cache takes at most {limit}", code="value_too_large"
            )
        shelf = self._shelves.setdefault(tenant, _Shelf())
        shelf.drop(key)
        until_ms = self._clock.now_ms() + ttl_s * 1_000 if ttl_s else 0
        shelf.entries[key] = Entry(value, until_ms, size)
        shelf.size += size
        while shelf.size > self._bytes_max or len(shelf.entries) > self._entries_max:
            shelf.drop(next(iter(shelf.entries)))

    def facts(self) -> dict[str, int]:
        """How much is held, over all tenants."""
        return {
            "entries": sum(len(shelf.entries) for shelf in self._shelves.values()),
            "bytes": sum(shelf.size for shelf in self._shelves.values()),
        }

    def sweep(self) -> int:
        """Drop what has expired; returns how many entries."""
        now_ms, dropped = self._clock.now_ms(), 0
        for shelf in self._shelves.values():
            for key in [
                k for k, entry in shelf.entries.items() if entry.until_ms and entry.until_ms <= now_ms
            ]:
                shelf.drop(key)
                dropped += 1
        return dropped
