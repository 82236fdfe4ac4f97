"""The functions that expressions may call.  A name that begins with a dot is a method of its first argument.

Source: Common Expression Language specification, "Standard Definitions", and its "strings", "lists" and
"math" extensions, as far as docs/reference/expressions.md names them; `sum` is ours.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cmp_to_key

from headway.core.plan import Json
from headway.runbooks.budget import Budget
from headway.runbooks.cel import INTEGER_MAX, INTEGER_MIN

VALUE_DEPTH_MAX = 100
"""How deep lists and maps may lie within each other."""


class NoValue(Exception):
    """The expression has no value; the text says why."""


@dataclass(frozen=True, slots=True)
class Function:
    """`usage` is how it is written; `counts` are the numbers of arguments, a method's target included."""

    usage: str
    counts: tuple[int, ...]
    apply: Callable[[list[Json], Budget], Json]


def kind_of(value: Json) -> str:
    """What a value is, in words."""
    if isinstance(value, Mapping):
        return "a map"
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value)) or ("a list" if type(value) is list else "not plain data")


def _number(value: Json) -> bool:
    return type(value) is int or type(value) is float


def same(left: Json, right: Json, budget: Budget, depth: int = 0) -> bool:
    """Whether two values are equal.  Values of different kinds are not; 1 and 1.0 are."""
    budget.spend(1)
    if depth > VALUE_DEPTH_MAX:
        raise NoValue(f"values to compare are nested more than {VALUE_DEPTH_MAX} deep")
    if _number(left) and _number(right):
        return bool(left == right)
    if isinstance(left, Mapping):
        if not isinstance(right, Mapping) or len(left) != len(right):
            return False
        pairs = [(value, right[key]) for key, value in left.items() if key in right]
        budget.spend_items(len(left))
        return len(pairs) == len(left) and all(same(a, b, budget, depth + 1) for a, b in pairs)
    if type(left) is not type(right):
        return False
    if type(left) is list:
        return len(left) == len(right) and all(
            same(a, b, budget, depth + 1) for a, b in zip(left, right, strict=True)
        )
    if type(left) is str:
        budget.spend_text(len(left))
    return bool(left == right)


def compare(left: Json, right: Json, budget: Budget) -> int:
    """Negative, zero or positive, as `left` comes before, with or after `right`."""
    ordered = type(left) is type(right) and type(left) in (str, bool)
    if not ordered and not (_number(left) and _number(right)):
        raise NoValue(f"{kind_of(left)} and {kind_of(right)} have no order")
    if type(left) is str:
        budget.spend_text(len(left))
    budget.spend(1)
    return int(left > right) - int(left < right)


def sort_by(pairs: list[tuple[Json, Json]], budget: Budget) -> list[Json]:
    """The second of each pair, in the order of the first; equal ones keep their order."""

    def order(left: tuple[Json, Json], right: tuple[Json, Json]) -> int:
        return compare(left[0], right[0], budget)

    ordered = sorted(pairs, key=cmp_to_key(order))
    return [item for _, item in ordered]


# Checks of arguments ------------------------------------------------------------------------------


def _texts(*values: Json) -> None:
    for value in values:
        if type(value) is not str:
            raise NoValue(f"a text was expected, not {kind_of(value)}")


def _list(value: Json) -> list[Json]:
    if type(value) is not list:
        raise NoValue(f"a list was expected, not {kind_of(value)}")
    return value


def _within(number: int) -> int:
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise NoValue("the result does not fit into 64 bits")
    return number


# Conversions --------------------------------------------------------------------------------------

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_FRACTION = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?", re.ASCII
)


def _size(args: list[Json], budget: Budget) -> Json:
    if type(args[0]) in (str, list) or isinstance(args[0], Mapping):
        return len(args[0])
    raise NoValue(f"'size' needs a text, a list or a map, not {kind_of(args[0])}")


def _int(args: list[Json], budget: Budget) -> Json:
    value = args[0]
    if type(value) is int:
        return value
    if type(value) is float and math.isfinite(value):
        return _within(math.trunc(value))
    if type(value) is str and _INTEGER.fullmatch(value):
        return _within(int(value))
    raise NoValue(f"'int' cannot read {_shown(value)}")


def _double(args: list[Json], budget: Budget) -> Json:
    value = args[0]
    if _number(value):
        try:
            return float(value)
        except OverflowError:
            raise NoValue("the number is too large") from None
    if type(value) is str and _FRACTION.fullmatch(value):
        return float(value)
    raise NoValue(f"'double' cannot read {_shown(value)}")


def _string(args: list[Json], budget: Budget) -> Json:
    value = args[0]
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if (type(value) is int and abs(value) <= 10**400) or type(value) is float:
        return repr(value).removesuffix(".0")
    raise NoValue(f"'string' cannot write {kind_of(value)}; a template {{{{ }}}} within a text can")


def _bool(args: list[Json], budget: Budget) -> Json:
    if type(args[0]) is bool:
        return args[0]
    if args[0] in ("true", "false"):
        return args[0] == "true"
    raise NoValue(f"'bool' cannot read {_shown(args[0])}")


def _shown(value: Json) -> str:
    return repr(value[:40]) if isinstance(value, str) else kind_of(value)


# Texts --------------------------------------------------------------------------------------------


def _of_texts(compute: Callable[..., Json]) -> Callable[[list[Json], Budget], Json]:
    def apply(args: list[Json], budget: Budget) -> Json:
        _texts(*args)
        budget.spend_text(sum(len(arg) for arg in args))
        return compute(*args)

    return apply


def _replace(args: list[Json], budget: Budget) -> Json:
    _texts(*args)
    text, old, new = args
    budget.spend_text(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _split(args: list[Json], budget: Budget) -> Json:
    _texts(*args)
    text, separator = args
    budget.spend_text(len(text))
    budget.spend_items(text.count(separator) if separator else len(text))
    return text.split(separator) if separator else list(text)


def _join(args: list[Json], budget: Budget) -> Json:
    texts, separator = _list(args[0]), args[1] if len(args) > 1 else ""
    _texts(separator, *texts)
    budget.spend_text(sum(len(text) for text in texts) + len(separator) * len(texts))
    budget.spend_items(len(texts))
    return separator.join(texts)


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def _lower(text: str) -> str:
    return text.translate(_LOWER)


def _upper(text: str) -> str:
    return text.translate(_UPPER)


# Lists --------------------------------------------------------------------------------------------


def _distinct(args: list[Json], budget: Budget) -> Json:
    found: list[Json] = []
    for item in _list(args[0]):
        if not any(same(item, other, budget) for other in found):
            found.append(item)
    return found


def _flatten(args: list[Json], budget: Budget) -> Json:
    found: list[Json] = []
    for item in _list(args[0]):
        part = item if type(item) is list else [item]
        budget.spend_items(len(part) + 8)
        found.extend(part)
    return found


def _slice(args: list[Json], budget: Budget) -> Json:
    items, start, end = _list(args[0]), args[1], args[2]
    if type(start) is not int or type(end) is not int or not 0 <= start <= end <= len(items):
        raise NoValue(f"'slice' needs 0 <= start <= end <= {len(items)}")
    budget.spend_items(end - start)
    return items[start:end]


def _reverse(args: list[Json], budget: Budget) -> Json:
    budget.spend_items(len(_list(args[0])))
    return args[0][::-1]


def _sort(args: list[Json], budget: Budget) -> Json:
    return sort_by([(item, item) for item in _list(args[0])], budget)


def _sum(args: list[Json], budget: Budget) -> Json:
    items = _list(args[0])
    budget.spend(len(items))
    for item in items:
        if not _number(item):
            raise NoValue(f"'sum' needs numbers, not {kind_of(item)}")
    try:
        return _within(sum(items)) if all(type(item) is int for item in items) else math.fsum(items)
    except OverflowError:
        raise NoValue("the numbers are too large") from None
    except ValueError:
        return math.nan


# Numbers ------------------------------------------------------------------------------------------


def _extreme(wanted: int, name: str) -> Callable[[list[Json], Budget], Json]:
    def apply(args: list[Json], budget: Budget) -> Json:
        numbers = args[0] if len(args) == 1 and type(args[0]) is list else args
        if not numbers or not all(_number(number) for number in numbers):
            raise NoValue(f"'math.{name}' needs numbers, or one list of them that is not empty")
        best = numbers[0]
        for number in numbers[1:]:
            best = number if compare(number, best, budget) == wanted else best
        return best

    return apply


def _of_number(compute: Callable[[float], int | float]) -> Callable[[list[Json], Budget], Json]:
    def apply(args: list[Json], budget: Budget) -> Json:
        value = args[0]
        if not _number(value):
            raise NoValue(f"a number was expected, not {kind_of(value)}")
        if type(value) is float and not math.isfinite(value):
            return value
        result = compute(value)
        return _within(int(result)) if type(value) is int else float(result)

    return apply


def _rounded(value: float) -> int | float:
    """Halves go away from zero, as CEL's math.round says."""
    floor = math.floor(abs(value))
    whole = floor + (abs(value) - floor >= 0.5)
    return whole if value >= 0 else -whole


FUNCTIONS: dict[str, Function] = {
    "size": Function("size(text, list or map)", (1,), _size),
    "int": Function("int(number or text)", (1,), _int),
    "double": Function("double(number or text)", (1,), _double),
    "string": Function("string(text, number, true or false)", (1,), _string),
    "bool": Function("bool(text)", (1,), _bool),
    ".size": Function("value.size()", (1,), _size),
    ".contains": Function("text.contains(part)", (2,), _of_texts(lambda text, part: part in text)),
    ".startsWith": Function("text.startsWith(part)", (2,), _of_texts(str.startswith)),
    ".endsWith": Function("text.endsWith(part)", (2,), _of_texts(str.endswith)),
    ".lowerAscii": Function("text.lowerAscii()", (1,), _of_texts(_lower)),
    ".upperAscii": Function("text.upperAscii()", (1,), _of_texts(_upper)),
    ".trim": Function("text.trim()", (1,), _of_texts(str.strip)),
    ".replace": Function("text.replace(old, new)", (3,), _replace),
    ".split": Function("text.split(separator)", (2,), _split),
    ".join": Function("list.join(separator)", (1, 2), _join),
    ".distinct": Function("list.distinct()", (1,), _distinct),
    ".flatten": Function("list.flatten()", (1,), _flatten),
    ".slice": Function("list.slice(start, end)", (3,), _slice),
    ".reverse": Function("list.reverse()", (1,), _reverse),
    ".sort": Function("list.sort()", (1,), _sort),
    ".sum": Function("list.sum()", (1,), _sum),
    "math.greatest": Function("math.greatest(numbers)", tuple(range(1, 33)), _extreme(1, "greatest")),
    "math.least": Function("math.least(numbers)", tuple(range(1, 33)), _extreme(-1, "least")),
    "math.abs": Function("math.abs(number)", (1,), _of_number(abs)),
    "math.ceil": Function("math.ceil(number)", (1,), _of_number(math.ceil)),
    "math.floor": Function("math.floor(number)", (1,), _of_number(math.floor)),
    "math.round": Function("math.round(number)", (1,), _of_number(_rounded)),
}
