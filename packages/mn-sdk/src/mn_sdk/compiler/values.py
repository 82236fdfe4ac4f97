"""Values of a program: what the arguments of its calls, and its result, are made of.

A value is a tree of the manifest's `dataflow` (docs/reference/bundle.md), with what the compiler must know
of it.  Trees are shared, never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mn_sdk.compiler.plain import Json

TERMS_MAX = 20_000
"""Parts of one value, every repetition counted: `x = [y, y]` some thirty times would be a billion."""

PATH_PARTS_MAX = 30
"""Keys and indexes after one result; the manifest allows 32 parts with the result's own name."""


class Refused(Exception):
    """A value cannot be made; the arguments are the message and a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Value:
    """A value.

    tree: as the manifest has it.  needs: the calls whose results it holds or decides by.  inputs: those that
    it holds or decides by.  terms: how many parts it has.
    """

    __slots__ = ("inputs", "needs", "terms", "tree")

    def __init__(
        self,
        tree: dict[str, Json],
        *,
        needs: frozenset[str] = frozenset(),
        inputs: frozenset[str] = frozenset(),
        terms: int = 1,
    ) -> None:
        if terms > TERMS_MAX:
            raise Refused(f"a value has more than {TERMS_MAX} parts", "let an agent put it together")
        self.tree = tree
        self.needs = needs
        self.inputs = inputs
        self.terms = terms

    @property
    def is_literal(self) -> bool:
        """Whether it depends on nothing."""
        return "literal" in self.tree

    def part(self, tree: Json) -> Value:
        """Something within it, or made of that."""
        # May name more than the part needs: an edge too many orders a program, and never changes it.
        return Value(tree, needs=self.needs, inputs=self.inputs, terms=self.terms)


def literal(value: Json) -> Value:
    """A value that is known now."""
    return Value({"literal": value})


def result(call: str) -> Value:
    """The result of a call."""
    return Value({"call": call}, needs=frozenset({call}))


def given(name: str) -> Value:
    """An input."""
    return Value({"input": name}, inputs=frozenset({name}))


UNKNOWN = result("")
"""Stands for what a mistake, noted already, has kept from being a value; it may be used like any result."""

ITEM = Value({"item": True})
"""What a scatter goes over, one at a time."""


def listed(items: list[Value]) -> Value:
    """A list of values; a literal when all of them are."""
    if all(item.is_literal for item in items):
        return literal([item.tree["literal"] for item in items])
    return _made({"list": [item.tree for item in items]}, items)


def mapped(items: Mapping[str, Value]) -> Value:
    """A map of values; a literal when all of them are."""
    if all(item.is_literal for item in items.values()):
        return literal({name: item.tree["literal"] for name, item in items.items()})
    return _made({"map": {name: item.tree for name, item in items.items()}}, items.values())


def _made(tree: dict[str, Json], parts: Iterable[Value]) -> Value:
    parts = list(parts)
    return Value(
        tree,
        needs=frozenset().union(*(part.needs for part in parts)),
        inputs=frozenset().union(*(part.inputs for part in parts)),
        terms=1 + sum(part.terms for part in parts),
    )


def at(value: Value, key: str | int) -> Value:
    """What stands at `key` in a value.  Raises: Refused where it is known that nothing does."""
    match value.tree:
        case {"literal": str(text)} if isinstance(key, int) and -len(text) <= key < len(text):
            return literal(text[key])
        case {"literal": found}:
            return literal(_item(found, key))
        case {"list": list(items)} if isinstance(key, int):
            return value.part(_item(items, key))
        case {"map": dict(items)}:
            return value.part(_item(items, key))
        case {"list": _}:
            raise Refused(f"a list has no {key!r}", "indexes of a list are whole numbers")
        case {"either": list(choices)}:
            parts = [{**choice, "then": at(value.part(choice["then"]), key).tree} for choice in choices]
            return value.part({"either": parts})
        case _:
            return _further(value, key)


def got(value: Value, key: str | int) -> Value:
    """What stands at `key` in a map, or null where nothing does.  Raises: Refused for what is no map."""
    match value.tree:
        case {"literal": dict(known)} | {"map": dict(known)}:
            return at(value, key) if key in known else literal(None)
        case {"literal": _} | {"list": _}:
            raise Refused(f"there is no {key!r} in this value", "get() looks into a map")
        case {"either": list(choices)}:
            parts = [{**choice, "then": got(value.part(choice["then"]), key).tree} for choice in choices]
            return value.part({"either": parts})
        case _:
            return _further(value, {"get": key})


def _further(value: Value, part: str | int | dict[str, str | int]) -> Value:
    path = [*value.tree.get("path", ()), part]
    if len(path) > PATH_PARTS_MAX:
        raise Refused(f"more than {PATH_PARTS_MAX} keys after one name", "let an agent take it apart")
    return value.part({**value.tree, "path": path})


def _item(found: Json, key: str | int) -> Json:
    if isinstance(found, dict) and key in found:
        return found[key]
    if isinstance(found, list) and isinstance(key, int) and -len(found) <= key < len(found):
        return found[key]
    raise Refused(f"there is no {key!r} in this value")
