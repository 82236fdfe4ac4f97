"""What ids may look like: those of nodes and steps become parts of attempt ids, keys and file names."""

from __future__ import annotations

import re

from headway_wire.manifest.fields import Spot
from headway_wire.manifest.findings import quoted, shown
from headway_wire.manifest.terms import Json

ID_CHARACTERS_MAX = 128
GRAPH_ID_CHARACTERS_MAX = 200

_FORBIDDEN = re.compile(r"[/\[\]\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DYNAMIC_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
"""Source: bundle contract, section 7.8."""


def read_id(spot: Spot, item: dict[str, Json], key: str, *, missing: str, what: str) -> str:
    """The id under `key`, or "" when there is none that can be used, which is noted.

    missing: the message when it is absent.  what: how messages call it, "node_id".
    """
    value = item.get(key)
    if value is None or value == "":
        spot.note("missing_key", missing, key)
    elif not isinstance(value, str):
        message = f"{what} must be text, found {shown(value)}"
        spot.note("wrong_type", message, key, expected="text", actual=value)
    elif len(value) > ID_CHARACTERS_MAX:
        message = f"{what} {quoted(value)} is longer than {ID_CHARACTERS_MAX} characters"
        spot.note("over_limit", message, key, actual=value)
    elif _FORBIDDEN.search(value) or value != value.strip():
        problem = 'must not contain "/", "[", "]" or control characters, nor begin or end with a space'
        spot.note("wrong_value", f"{what} {quoted(value)} {problem}", key, actual=value)
    else:
        return value
    return ""


def dynamic_id_problem(value: str) -> str:
    """What is wrong with the id of a region or a template, or ""."""
    if _DYNAMIC_ID.fullmatch(value):
        return ""
    return "must begin with a letter or digit and go on with at most 127 of letters, digits, _ . : -"


def read_title(spot: Spot, value: Json, key: str) -> str:
    """A name of the whole, as `graph_id`: one line of text, "" when it cannot be used, which is noted."""
    if not isinstance(value, str):
        spot.wrong(key, value, "text")
    elif len(value) > GRAPH_ID_CHARACTERS_MAX:
        message = f"{key} is longer than {GRAPH_ID_CHARACTERS_MAX} characters"
        spot.note("over_limit", message, key, actual=value)
    elif any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        spot.note("wrong_value", f"{key} must not contain control characters", key, actual=value)
    else:
        return value.strip()
    return ""
