"""Bundles that were submitted before: their manifests need no reading, and their plans no compiling.

Most jobs are of a bundle that another job had.  What is kept never changes: manifests and plans are values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from headway_wire.bundle import parse_manifest
from headway_wire.manifest import Backpressure, Manifest, check_supported, read

from headway.bundles import plan_of
from headway.core.plan import Json, Plan

T = TypeVar("T")

KNOWN_MAX = 64
TEXT_CHARS_MAX = 262_144
"""Longer manifests are read each time, so that what is kept has a bound."""


class KnownBundles:
    """The manifests and plans that were asked for last.

    capacity: slots of an executor pool.
    pressure: the limits of queues for which a manifest has none; the contract's when None.
    """

    def __init__(self, capacity: Callable[[str], int], pressure: Backpressure | None = None) -> None:
        self._capacity, self._pressure = capacity, pressure
        self._manifests: dict[str, Manifest] = {}
        self._plans: dict[str, Plan] = {}

    def manifest(self, text: str) -> Manifest:
        """The manifest that a text says.  Raises Invalid, and Conflict for what cannot run here."""
        found = self._manifests.pop(text, None)
        if found is None:
            found = read(parse_manifest(text), pressure=self._pressure)
            check_supported(found)
        if len(text) <= TEXT_CHARS_MAX:
            _keep(self._manifests, text, found)
        return found

    def plan(self, digest: str, manifest: Manifest, allocations: Mapping[str, Json]) -> Plan:
        """The plan of the bundle with this digest; `manifest` is its own, with whatever metadata.

        Raises Invalid when a node cannot run here.
        """
        if allocations:  # Which agents were given what is part of the plan, and different each time.
            return plan_of(manifest, digest, capacity=self._capacity, allocations=allocations)
        found = self._plans.pop(digest, None) or plan_of(manifest, digest, capacity=self._capacity)
        _keep(self._plans, digest, found)
        return found


def _keep(known: dict[str, T], name: str, value: T) -> None:
    """Put it last, and let the one go that nobody has asked for longest."""
    known[name] = value
    if len(known) > KNOWN_MAX:
        del known[next(iter(known))]
