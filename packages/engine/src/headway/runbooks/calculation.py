"""What an expression comes to: a tree of `cel` is computed over JSON values, within a budget of work.

Only JSON values are ever touched, by their exact types: no attribute of any object is read, nothing is
imported or called but the functions in `functions`.  Work is counted, not timed, so that the same
expression over the same values always ends in the same way, however slow the machine.

Where CEL computes a value, the same value is computed here, with one exception: CEL has no order for the
keys of a map, here they are sorted.  CEL's errors stay errors, but integers and fractions mix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import NoReturn

from headway.core.plan import Json
from headway.runbooks import functions
from headway.runbooks.budget import Budget
from headway.runbooks.cel import (
    INTEGER_MAX,
    INTEGER_MIN,
    MACROS,
    Binary,
    Call,
    Choice,
    ExpressionError,
    Field,
    Index,
    Listing,
    Literal,
    Macro,
    Mapped,
    Name,
    Node,
    Unary,
    children,
)
from headway.runbooks.functions import Function, NoValue, kind_of, same


def calculate(tree: Node, text: str, scope: Mapping[str, Json], budget: Budget) -> Json:
    """The value of `tree`, which was read from `text`.

    The result may share parts with `scope`; copy before changing it.
    Raises ExpressionError, and OutOfBudget when the budget is spent.
    """
    try:
        return _Calculation(scope, budget).value(tree)
    except NoValue as error:
        raise ExpressionError(str(error), text) from None


def check_calls(tree: Node, text: str) -> None:
    """Raises ExpressionError when a function is called that does not exist, or in another way than it is."""
    level: tuple[Node, ...] = (tree,)
    while level:
        for node in level:
            if isinstance(node, Call):
                try:
                    function_of(node)
                except NoValue as error:
                    raise ExpressionError(str(error), text) from None
        level = tuple(child for node in level for child in children(node))


def spelled(node: Node) -> str:
    """How a path of names, fields and constant keys is written, for messages; other nodes are "it"."""
    match node:
        case Name(name):
            return name
        case Field(of, name):
            return f"{spelled(of)}.{name}"
        case Index(of, Literal(key)):
            return f"{spelled(of)}[{key!r}]"
        case _:
            return "it"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that looks most like `name`, or at what there is."""
    names = sorted(set(known))
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; there is {shown}" if names else ""


class _Calculation:
    """One computation: the scope, the variables that macros bind, and the budget."""

    def __init__(self, scope: Mapping[str, Json], budget: Budget) -> None:
        self.scope = scope
        self.bound: dict[str, Json] = {}
        self.budget = budget

    def value(self, node: Node) -> Json:
        self.budget.spend(1)
        match node:
            case Literal():
                return node.value
            case Name():
                return self.name(node.name)
            case Field():
                return self.field(node.of, node.name, node.asked)
            case Index():
                return self.index(node.of, self.value(node.key))
            case Binary():
                if node.operator in ("&&", "||"):
                    return self.logic(node.operator, node.left, node.right)
                return self.binary(node.operator, self.value(node.left), self.value(node.right))
            case Choice():
                chosen = self.truth(self.value(node.test), "the condition before '?'")
                return self.value(node.yes if chosen else node.no)
            case Unary():
                return self.unary(node.operator, self.value(node.of))
            case Call():
                return self.call(node)
            case Macro():
                return self.macro(node)
            case Listing():
                return [self.value(item) for item in node.items]
            case Mapped():
                return self.mapped(node.pairs)

    def name(self, name: str) -> Json:
        if name in self.bound:
            return self.bound[name]
        if name in self.scope:
            return self.scope[name]
        raise NoValue(f"'{name}' is not defined here{nearest(name, [*self.scope, *self.bound])}")

    def field(self, of: Node, name: str, asked: bool) -> Json:
        holder = self.value(of)
        if not isinstance(holder, Mapping):
            raise NoValue(f"{spelled(of)} is {kind_of(holder)} and has no field '{name}'")
        if asked:
            return name in holder
        if name not in holder:
            self.missing(of, name, holder)
        return holder[name]

    def missing(self, of: Node, key: str, holder: Mapping[str, Json]) -> NoReturn:
        names = [k for k in holder if type(k) is str] if len(holder) <= 1_000 else []
        raise NoValue(f"{spelled(of)} has no '{key}'{nearest(key, names)}")

    def index(self, of: Node, key: Json) -> Json:
        holder = self.value(of)
        if isinstance(holder, Mapping):
            if type(key) is not str:
                raise NoValue(f"the keys of {spelled(of)} are text, not {kind_of(key)}")
            if key not in holder:
                self.missing(of, key, holder)
            return holder[key]
        if type(holder) is list:
            if type(key) is not int:
                raise NoValue(f"{spelled(of)} is a list: its index is a whole number, not {kind_of(key)}")
            if not 0 <= key < len(holder):
                raise NoValue(f"{spelled(of)} has {len(holder)} items, none at {key}")
            return holder[key]
        raise NoValue(f"{spelled(of)} is {kind_of(holder)} and has no items")

    def truth(self, value: Json, what: str) -> bool:
        if type(value) is not bool:
            raise NoValue(f"{what} is true or false, not {kind_of(value)}")
        return value

    def logic(self, operator: str, left: Node, right: Node) -> bool:
        """Either side alone decides when it can, even if the other one is an error.

        Source: Common Expression Language specification, "Logical Operators".
        """
        decides = operator == "||"
        what = f"each side of '{operator}'"
        try:
            if self.truth(self.value(left), what) is decides:
                return decides
        except NoValue:
            if self.truth(self.value(right), what) is decides:
                return decides
            raise
        return self.truth(self.value(right), what)

    def unary(self, operator: str, value: Json) -> Json:
        if operator == "!":
            return not self.truth(value, "what follows '!'")
        if type(value) is float:
            return -value
        if type(value) is int:
            return _whole(-value)
        raise NoValue(f"'-' needs a number, not {kind_of(value)}")

    def binary(self, operator: str, left: Json, right: Json) -> Json:
        match operator:
            case "==":
                return same(left, right, self.budget)
            case "!=":
                return not same(left, right, self.budget)
            case "in":
                return self.contained(left, right)
            case "<" | "<=" | ">" | ">=":
                return self.ordered(operator, left, right)
            case "+" if type(left) is str and type(right) is str:
                self.budget.spend_text(len(left) + len(right))
                return left + right
            case "+" if type(left) is list and type(right) is list:
                self.budget.spend_items(len(left) + len(right))
                return left + right
        return _arithmetic(operator, left, right)

    def contained(self, item: Json, holder: Json) -> bool:
        if type(holder) is list:
            return any(same(item, other, self.budget) for other in holder)
        if isinstance(holder, Mapping):
            return type(item) is str and item in holder
        raise NoValue(f"'in' needs a list or a map on its right, not {kind_of(holder)}")

    def ordered(self, operator: str, left: Json, right: Json) -> bool:
        return _ORDERS[operator](functions.compare(left, right, self.budget))

    def mapped(self, pairs: tuple[tuple[Node, Node], ...]) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for key_node, node in pairs:
            key = self.value(key_node)
            if type(key) is not str:
                raise NoValue(f"the keys of a map are text, not {kind_of(key)}")
            found[key] = self.value(node)
        return found

    def call(self, node: Call) -> Json:
        args = node.args if node.target is None else (node.target, *node.args)
        return function_of(node).apply([self.value(arg) for arg in args], self.budget)

    def macro(self, node: Macro) -> Json:
        over = self.value(node.over)
        if isinstance(over, Mapping):
            items: list[Json] = sorted(key for key in over if type(key) is str)
        elif type(over) is list:
            items = over
        else:
            raise NoValue(f"'{node.name}' goes over a list, {spelled(node.over)} is {kind_of(over)}")
        self.budget.spend_items(len(items))
        outer = self.bound
        try:
            return self.over(node, items)
        finally:
            self.bound = outer

    def over(self, node: Macro, items: list[Json]) -> Json:
        outer, variable, body = self.bound, node.variable, node.bodies[-1]

        def at(item: Json, what: Node) -> Json:
            self.bound = {**outer, variable: item}
            return self.value(what)

        def holds(item: Json, what: Node) -> bool:
            return self.truth(at(item, what), f"the condition of '{node.name}'")

        match node.name:
            case "all" | "exists":
                return self.decided(node.name == "exists", items, lambda item: holds(item, body))
            case "exists_one":
                return sum(holds(item, body) for item in items) == 1
            case "filter":
                return [item for item in items if holds(item, body)]
            case "sortBy":
                return functions.sort_by([(at(item, body), item) for item in items], self.budget)
            case _ if len(node.bodies) == 2:  # map with a condition
                return [at(item, body) for item in items if holds(item, node.bodies[0])]
            case _:
                return [at(item, body) for item in items]

    def decided(self, decides: bool, items: list[Json], holds: Callable[[Json], bool]) -> bool:
        """As with || and &&, an item that decides outweighs an error in another one."""
        error: NoValue | None = None
        for item in items:
            try:
                if holds(item) is decides:
                    return decides
            except NoValue as found:
                error = error or found
        if error:
            raise error
        return not decides


_ORDERS: dict[str, Callable[[int], bool]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}


def function_of(node: Call) -> Function:
    """The function that is called.  Raises NoValue when there is none, or none with so many arguments."""
    name = node.name if node.target is None else f".{node.name}"
    function = functions.FUNCTIONS.get(name)
    if function is None:
        if name == ".matches":
            hint = "; patterns are not supported: use contains, startsWith or endsWith"
        else:
            hint = nearest(node.name, [known.lstrip(".") for known in (*functions.FUNCTIONS, *MACROS)])
        raise NoValue(f"there is no function '{node.name}'{hint}")
    if len(node.args) + (node.target is not None) not in function.counts:
        raise NoValue(f"'{node.name}' is written {function.usage}")
    return function


def _whole(number: int) -> int:
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise NoValue("the result does not fit into 64 bits")
    return number


def _arithmetic(operator: str, left: Json, right: Json) -> int | float:
    if type(left) not in (int, float) or type(right) not in (int, float):
        hint = "; to join texts use {{ }} templates or string(x)" if str in (type(left), type(right)) else ""
        raise NoValue(f"'{operator}' has no meaning for {kind_of(left)} and {kind_of(right)}{hint}")
    whole = type(left) is int and type(right) is int
    if whole:
        _whole(left), _whole(right)
    if operator in "/%" and whole and right == 0:
        raise NoValue("division by zero")
    try:
        match operator:
            case "+":
                result = left + right
            case "-":
                result = left - right
            case "*":
                result = left * right
            case "/" if whole:
                result = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            case "/":
                result = left / right if right else math.nan if not left else math.copysign(math.inf, left)
            case "%" if whole:
                result = int(math.copysign(1, left)) * (abs(left) % abs(right))
            case _:
                raise NoValue("'%' needs whole numbers")
    except OverflowError:
        raise NoValue("the numbers are too large") from None
    return _whole(result) if whole else float(result)
