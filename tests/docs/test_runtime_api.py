"""The page of the runtime API lists the calls, the fields and the methods that there are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from headway.api.rpc.mirrorneuron import exchange, following
from headway_wire.mirrorneuron.calls import MESSAGE_BYTES_MAX, RPCS
from mn_sdk.client import Client

from packages.engine.tests.rpc.runtime import outcome, served
from tests.tidy.tree import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reference" / "mirrorneuron-api.md").read_text(encoding="utf-8")
KINDS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_MESSAGE: "map",
}


def _fields(message: type[Message]) -> str:
    fields = message.DESCRIPTOR.fields
    return ", ".join(f"{field.number} `{field.name}` {KINDS[field.type]}" for field in fields)


def rows() -> Iterator[str]:
    """One row for each call."""
    for path, rpc in RPCS.items():
        many = "stream of " if rpc.streams else ""
        name = path.rpartition("/")[2]
        yield (f"| `{name}` | {_fields(rpc.request)} | {many}{_fields(rpc.response)} |")


def _shown(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    if parameter.default is parameter.empty:
        return parameter.name
    default = repr(parameter.default)
    return f"{parameter.name}={'...' if default.startswith('<') else default}"


def _signature(method: object) -> str:
    assert callable(method)
    shown: list[str] = []
    for parameter in [*inspect.signature(method).parameters.values()][1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        shown.append(_shown(parameter))
    return ", ".join(shown)


def test_every_call_is_listed_with_its_fields() -> None:
    listed = [line for line in PAGE.splitlines() if re.match(r"\| `[A-Z]\w+` \| \d ", line)]

    assert sorted(listed) == sorted(rows())


def test_every_method_of_the_clients_is_listed_as_it_is() -> None:
    methods = {
        f"{name}({_signature(value)})"
        for name, value in vars(Client).items()
        if callable(value) and not name.startswith("_") and name != "close"
    }

    assert set(re.findall(r"^\| `([a-z_]+\(.*?\))` \|", PAGE, re.MULTILINE)) == methods


def test_what_is_said_to_be_unimplemented_is_so_and_nothing_else() -> None:
    after = " ".join(PAGE.split("This engine answers UNIMPLEMENTED to ", 1)[1].split())
    text = after.split(". ", 1)[0]
    said = set(re.findall(r"`(\w+)`", text))

    with served() as runtime:
        refused = {path for path in RPCS if outcome(runtime.target, path)[0] == "UNIMPLEMENTED"}

    assert {path.rpartition("/")[2] for path in refused} == said


def test_the_limits_are_those_of_the_code() -> None:
    assert f"at most {MESSAGE_BYTES_MAX >> 20} MiB" in PAGE
    assert f"reads nothing for {exchange.UNREAD_S_MAX:.0f} seconds" in PAGE
    assert f"At most {following.FOLLOWERS_MAX} streams" in PAGE
    assert f"at most every {following.HEARTBEAT_MS_MIN} ms" in PAGE
