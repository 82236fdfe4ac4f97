"""What callers give: ids, objects, and what a manifest says about the definition that it becomes.  Pure.

Source: runtime API, section 9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headway_wire.codec import dumps
from headway_wire.errors import Conflict, Invalid
from headway_wire.manifest import Manifest
from headway_wire.manifest.fields import is_plain
from headway_wire.manifest.findings import Findings

from headway.service.definitions.record import READ, READ_WRITE

OBJECT_BYTES_MAX = 256 * 1024
"""Of a configuration, of what is said about storage, of the inputs of a run, of one input."""

KEY_CHARS_MAX = 200

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_id(what: str, id: str) -> None:
    """Raises Invalid unless `id` can name a folder: published clients make such ids."""
    if not _ID.fullmatch(id):
        text = f"{what} must begin with a letter or digit and go on with letters, digits, '.', '_', '-'"
        raise Invalid(f"{text}, at most 128; not {id[:128]!r}", code="bad_id")


def check_object(what: str, value: Mapping[str, Any]) -> None:
    """Raises Invalid for an object that is too large, or nested too deeply to be merged into a manifest."""
    size = len(dumps(value))
    if size > OBJECT_BYTES_MAX:
        text = f"the {what} has {size} bytes; at most {OBJECT_BYTES_MAX} are taken"
        raise Invalid(text, code="payload_too_large")
    if not is_plain(found := Findings(), value):
        problems = "; ".join(finding.message for finding in found.all())
        raise Invalid(f"the {what} cannot be taken: {problems}", code="payload_too_large")


def identity_of(manifest: Manifest) -> tuple[str, str]:
    """Blueprint id and graph id."""
    return str(manifest.metadata.get("blueprint_id") or manifest.graph_id), manifest.graph_id


def access_of(manifest: Manifest, storage: Mapping[str, Any]) -> str:
    """Whether runs only read the definition's data: `storage.access`, else `metadata.job_data_access`.

    Raises Invalid for another word.
    """
    said = storage.get("access") or manifest.metadata.get("job_data_access") or READ_WRITE
    if said not in (READ, READ_WRITE):
        raise Invalid(f"access to data is {READ} or {READ_WRITE}, not {said!r:.100}", code="bad_definition")
    return str(said)


def live_input(manifest: Manifest, input_id: str) -> tuple[str, str]:
    """The agent that takes an input, and the type of its message.

    An input is named in the manifest, `contract.live_inputs.<id>` with `entrypoint` and `message_type`; an
    agent takes inputs under its own id.  Raises Invalid.
    """
    raw = manifest.raw
    named: dict[str, Any] = {}
    for key in ("contract", "contracts"):
        contract = raw.get(key)
        listed = contract.get("live_inputs") if isinstance(contract, Mapping) else None
        named |= listed if isinstance(listed, Mapping) else {}
    found = named.get(input_id)
    if isinstance(found, Mapping):
        agent, type = found.get("entrypoint"), found.get("message_type")
        if isinstance(agent, str) and agent in manifest.by_id and isinstance(type, str) and type:
            return agent, type
        raise Invalid(
            f"the live input '{input_id[:128]}' names no agent and message type", code="unknown_live_input"
        )
    if input_id in manifest.by_id:
        return input_id, "input"
    known = ", ".join(sorted([*named, *manifest.by_id])[:20])
    raise Invalid(f"'{input_id[:128]}' is no input; there are: {known}", code="unknown_live_input")


def unconfirmed(what: str) -> Conflict:
    """The refusal of what cannot be undone and was not confirmed."""
    return Conflict(f"confirmation_required: {what} cannot be undone", code="confirmation_required")
