"""What `mn blueprint validate` asks beyond what a runtime needs: the rules for people who write bundles.

Source: bundle contract, section 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headway_wire.manifest.findings import quoted, shown
from headway_wire.manifest.graph import reachable
from headway_wire.manifest.shapes import Parts
from headway_wire.manifest.terms import Json

REQUIRED_KEYS = {
    "A": ("manifest_version", "graph_id", "job_name", "entrypoints", "nodes"),
    "B": ("manifest_version", "workflow", "agents"),
    "C": ("manifest_version",),
}
"""Top-level keys that an author must write, by shape."""

MISPLACED_KEYS = ("nodes", "edges", "entrypoints", "graph_id")
"""What shape B keeps elsewhere; `flow` would make another shape of it."""


def missing_keys(parts: Parts) -> list[str]:
    """The keys that the manifest should have and has not, told in one finding."""
    missing = [key for key in REQUIRED_KEYS[parts.shape] if parts.raw.get(key) is None]
    if missing:
        message = f"manifest.json is missing required keys: {', '.join(missing)}"
        parts.root.note("missing_key", message, expected=", ".join(REQUIRED_KEYS[parts.shape]))
    return missing


def check_authored(
    parts: Parts, steps: Mapping[str, Any], children: dict[str, list[str]], *, graph_is_sound: bool
) -> None:
    """Note what breaks the rules for authors."""
    if not parts.has_nodes and parts.nodes.value in (None, [], ()):
        spot, key = parts.nodes.spot, parts.nodes.key
        spot.note("missing_key", "nodes must not be empty", key)
    if parts.shape == "B":
        for key in MISPLACED_KEYS:
            if key in parts.raw:
                message = f"{key} must not be at the root of an authored workflow manifest"
                parts.root.note("misplaced_key", message, key)
    if steps:
        _check_ends(parts, steps, children, graph_is_sound=graph_is_sound)
    _check_bindings(parts, steps)


def _check_ends(
    parts: Parts, steps: Mapping[str, Any], children: dict[str, list[str]], *, graph_is_sound: bool
) -> None:
    source, entry = parts.graph("source"), parts.graph("entrypoint")
    if entry.value is not None and (not isinstance(entry.value, str) or entry.value not in steps):
        message = f"{entry.name} {quoted(entry.value)} does not name a step"
        entry.spot.note("unknown_reference", message, entry.key, actual=entry.value)
    if source.value is not None and entry.value is not None and source.value != entry.value:
        message = f"{source.name} must equal {entry.name}"
        found = f"{shown(source.value)} and {shown(entry.value)}"
        source.spot.note("wrong_value", message, source.key, expected=shown(entry.value), actual=found)
    start = next((value for value in (source.value, entry.value) if isinstance(value, str)), "")
    if graph_is_sound and start in steps:
        reached = reachable(children, [start])
        for id in steps:
            if id not in reached:
                message = f"step {id} cannot be reached from {shown(start)}"
                parts.steps.spot.note("unreachable", message, parts.steps.key, actual=id)


def _check_bindings(parts: Parts, steps: Mapping[str, Any]) -> None:
    runtime: dict[str, Json] = parts.tops["runtime"]
    spot = parts.root.inside("runtime")
    bindings: Sequence[str] | Mapping[str, Json] = spot.object(runtime, "bindings")
    if parts.shape == "A":
        return
    for id in bindings:
        if id not in steps:
            message = f"runtime.bindings references missing step {shown(id)}"
            spot.inside("bindings").note("unknown_reference", message, id, actual=id)
