"""Reading message edges.  Source: bundle contract, section 4."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from headway_wire.manifest.conditions import edge_conditions
from headway_wire.manifest.fields import Spot
from headway_wire.manifest.findings import quoted, shown
from headway_wire.manifest.form import MessageEdge, RoutingMode
from headway_wire.manifest.shapes import Place
from headway_wire.manifest.terms import Json

EDGES_MAX = 100_000
NAME_CHARACTERS_MAX = 300

ROUTING_MODES = ("broadcast", "all_match", "first_match")


def read_edges(place: Place, nodes: Collection[str]) -> list[MessageEdge]:
    """The message edges at `place`; `nodes` are the ids that they may name."""
    edges: list[MessageEdge] = []
    names = EdgeNames()
    for spot, item in place.spot.objects(place.holder, place.key, most=EDGES_MAX):
        name, given = edge_id(spot, item, "edge_id", ("from_node", "to_node"))
        ends = [_end(spot, item, key, name, nodes) for key in ("from_node", "to_node")]
        type = _type(spot, item, name)
        mode = item.get("routing_mode")
        if mode is None:
            mode = "broadcast"
        elif mode not in ROUTING_MODES:
            expected = ", ".join(ROUTING_MODES)
            message = f"unsupported routing_mode {quoted(mode)} for edge {name}"
            spot.note("wrong_value", message, "routing_mode", expected=expected, actual=mode)
            continue
        conditions = edge_conditions(spot, item.get("conditions"), f"edge {name}")
        if all(ends) and type:
            unique = names.untaken(spot, name, given=given)
            edges.append(MessageEdge(unique, ends[0], ends[1], type, cast(RoutingMode, mode), conditions))
    return edges


def edge_id(spot: Spot, item: dict[str, Json], key: str, ends: tuple[str, str]) -> tuple[str, bool]:
    """The id of an edge and whether it was given; else it is ``<from>_to_<to>``."""
    value = item.get(key)
    if isinstance(value, str) and 0 < len(value) <= NAME_CHARACTERS_MAX:
        return value, True
    if value not in (None, ""):
        spot.wrong(key, value, f"text of at most {NAME_CHARACTERS_MAX} characters")
    start, end = (shown(item.get(end)) for end in ends)
    return f"{start}_to_{end}", False


class EdgeNames:
    """Gives every edge a name of its own."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def untaken(self, spot: Spot, name: str, *, given: bool) -> str:
        """`name`, or one made of it that no other edge has.  That two were given one name is told."""
        if name in self._counts and given:
            spot.note("duplicate", f"duplicate edge id {name}", severity="warning", actual=name)
        unique = name
        while unique in self._counts:
            self._counts[name] += 1
            unique = f"{name}_{self._counts[name]}"
        self._counts[unique] = 1
        return unique


def _end(spot: Spot, item: dict[str, Json], key: str, name: str, nodes: Collection[str]) -> str:
    """The node that `key` names, or "" when there is no such node, which is noted."""
    value = item.get(key)
    if isinstance(value, str) and value in nodes:
        return value
    if value is None or value == "":
        spot.note("missing_key", f"edge {name} must define {key}", key)
    else:
        spot.note("unknown_reference", f"edge {name} references missing {key} {shown(value)}", key)
    return ""


def _type(spot: Spot, item: dict[str, Json], name: str) -> str:
    value = item.get("message_type")
    if value is None or value == "":
        spot.note("missing_key", f"edge {name} must define message_type", "message_type")
    elif isinstance(value, str):
        return value
    else:
        spot.note("wrong_type", f"edge {name}: message_type must be text", "message_type", actual=value)
    return ""
