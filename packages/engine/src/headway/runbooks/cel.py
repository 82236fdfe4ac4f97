"""The grammar of expressions: the text of a CEL expression becomes a small tree, or an error.

Nothing here computes anything.  Left out of CEL, because JSON has no such values: unsigned integers,
bytes, timestamps, durations and message types.  Added: after ``steps.`` a step id is one name, dashes
included, so that ``steps.error-rate.output`` means what it looks like.

Source: the Common Expression Language specification, "Syntax"; docs/reference/expressions.md.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from headway.core.world import CannotEvaluate

EXPRESSION_CHARS_MAX = 2_000
NESTING_MAX = 32
"""Brackets, conditions and signs within each other."""

CHAIN_MAX = 100
"""Depth of the tree: how many operators or fields follow each other."""

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1

MACROS = {"all": (2,), "exists": (2,), "exists_one": (2,), "filter": (2,), "map": (2, 3), "sortBy": (2,)}
"""Methods whose first argument is a new name, with the numbers of arguments they take."""


class ExpressionError(CannotEvaluate):
    """An expression that cannot be read or has no value; `expression` is its text."""

    def __init__(self, message: str, expression: str) -> None:
        super().__init__(f"{message}, in {{{{ {_shortened(expression)} }}}}" if expression else message)
        self.message = message
        self.expression = expression


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."


@dataclass(frozen=True, slots=True)
class Literal:
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """``of.name``; with `asked`, ``has(of.name)``."""

    of: Node
    name: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    of: Node
    key: Node


@dataclass(frozen=True, slots=True)
class Call:
    """``name(args)``, or ``target.name(args)``; ``math.name(args)`` has no target but a longer name."""

    name: str
    target: Node | None
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Macro:
    """``over.name(variable, bodies...)``."""

    name: str
    over: Node
    variable: str
    bodies: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mapped:
    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    of: Node


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Choice:
    test: Node
    yes: Node
    no: Node


Node = Literal | Name | Field | Index | Call | Macro | Listing | Mapped | Unary | Binary | Choice


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`."""
    match node:
        case Field(of) | Unary(_, of):
            return (of,)
        case Index(left, right) | Binary(_, left, right):
            return (left, right)
        case Call(_, target, args):
            return args if target is None else (target, *args)
        case Macro(_, over, _, bodies):
            return (over, *bodies)
        case Listing(items):
            return items
        case Mapped(pairs):
            return tuple(part for pair in pairs for part in pair)
        case Choice(test, yes, no):
            return (test, yes, no)
        case Literal() | Name():
            return ()


def parse(text: str) -> Node:
    """The tree of an expression.  Raises ExpressionError that says where reading stopped."""
    if len(text) > EXPRESSION_CHARS_MAX:
        raise ExpressionError(
            f"an expression has at most {EXPRESSION_CHARS_MAX} characters, this one has {len(text)}", text
        )
    tree = _Parser(text).whole()
    level: list[Node] = [tree]
    for _ in range(CHAIN_MAX):
        level = [child for node in level for child in children(node)]
        if not level:
            return tree
    raise ExpressionError(f"more than {CHAIN_MAX} operators or fields follow each other", text)


# Tokens -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # name, int, float, string, operator, end
    text: str
    at: int


_TOKEN = re.compile(
    r"""
    (?P<space>(?:[\ \t\r\n\f]|//[^\n]*)+)
  | (?P<bytes>[bB][rR]?["'])
  | (?P<string>[rR]?(?:\"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3}
                     | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*'))
  | (?P<float>[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+)
  | (?P<int>0[xX][0-9a-fA-F]+ | [0-9]+)(?P<unsigned>[uU])?
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<operator>&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_STEP_ID = re.compile(r"[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*")
_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "package", "return", "var", "void", "while"}
)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    last = deque([_Token("end", "", 0)] * 3, maxlen=3)
    while at < len(text):
        step = _STEP_ID.match(text, at) if _wants_step_id(last) else None
        found = step or _TOKEN.match(text, at)
        if found is None or (not step and (found["bytes"] or found["unsigned"])):
            raise ExpressionError(_unreadable(text, at, found), text)
        kind = "name" if step else found.lastgroup or ""
        if kind != "space":
            last.append(_Token(kind, found[0], at))
            yield last[-1]
        at = found.end()
    yield _Token("end", "", at)


def _wants_step_id(last: deque[_Token]) -> bool:
    before, word, dot = last
    return dot.text == "." and word.kind == "name" and word.text == "steps" and before.text != "."


def _unreadable(text: str, at: int, found: re.Match[str] | None) -> str:
    if found and found["bytes"]:
        return f"bytes are not supported, at character {at + 1}"
    if found:
        return f"unsigned numbers are not supported: write {found['int']}, at character {at + 1}"
    if text[at] in "\"'":
        return f"the text that begins at character {at + 1} has no closing quote"
    hint = {"=": "; to compare, write ==", "&": "; and is written &&", "|": "; or is written ||"}
    return f"unexpected {text[at]!r} at character {at + 1}{hint.get(text[at], '')}"


_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL
)
_PLAIN_ESCAPES = dict(zip("abfnrtv\\'\"`?", "\a\b\f\n\r\t\v\\'\"`?", strict=True))


def _text(token: str, expression: str) -> str:
    raw = token[0] in "rR"
    body = token[1:] if raw else token
    width = 3 if body[:3] in ('"""', "'''") and len(body) >= 6 else 1
    body = body[width:-width]

    def unescape(found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        number = int(code, 16) if code else int(found[4], 8) if found[4] else None
        if number is not None and (number > 0x10FFFF or 0xD800 <= number <= 0xDFFF):
            raise ExpressionError(f"{found[0]} is not a character", expression)
        if number is not None:
            return chr(number)
        if found[5] not in _PLAIN_ESCAPES:
            raise ExpressionError(f"unknown escape {found[0]!r}; a backslash is written \\\\", expression)
        return _PLAIN_ESCAPES[found[5]]

    return body if raw else _ESCAPE.sub(unescape, body)


# The parser ---------------------------------------------------------------------------------------

_LEVELS = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
"""Binary operators, loosest first; all of them bind to the left."""


class _Parser:
    """Reads tokens from left to right; each method takes what it names."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.next = 0
        self.depth = 0

    def whole(self) -> Node:
        if self.here.kind == "end":
            raise ExpressionError("the expression is empty", self.text)
        tree = self.choice()
        if self.here.kind != "end":
            raise self.unexpected("an operator or the end")
        return tree

    @property
    def here(self) -> _Token:
        return self.tokens[self.next]

    def take(self, *texts: str) -> bool:
        """Step over the token here when it is one of these operators or words."""
        if self.here.kind in ("operator", "name") and self.here.text in texts:
            self.next += 1
            return True
        return False

    def need(self, text: str) -> None:
        if not self.take(text):
            raise self.unexpected(f"'{text}'")

    def unexpected(self, wanted: str) -> ExpressionError:
        token = self.here
        found = (
            "the expression ends"
            if token.kind == "end"
            else f"found '{token.text}' at character {token.at + 1}"
        )
        return ExpressionError(f"expected {wanted}, {found}", self.text)

    def choice(self) -> Node:
        self.depth += 1
        if self.depth > NESTING_MAX:
            raise ExpressionError(f"more than {NESTING_MAX} levels of brackets or conditions", self.text)
        tree = self.binary(0)
        if self.take("?"):
            yes = self.choice()
            self.need(":")
            tree = Choice(tree, yes, self.choice())
        self.depth -= 1
        return tree

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        tree = self.binary(level + 1)
        while self.here.text in _LEVELS[level] and self.here.kind in ("operator", "name"):
            operator = self.here.text
            self.next += 1
            tree = Binary(operator, tree, self.binary(level + 1))
        return tree

    def unary(self) -> Node:
        sign = self.here.text if self.here.kind == "operator" and self.here.text in ("!", "-") else ""
        count = 0
        while sign and self.take(sign):
            count += 1
        if count > NESTING_MAX:
            raise ExpressionError(f"more than {NESTING_MAX} signs", self.text)
        if sign == "-" and count % 2 and self.here.kind in ("int", "float"):
            return self.members(self.number("-"))
        negative = self.here.text == "-" and self.tokens[self.next + 1].kind in ("int", "float")
        tree = self.members(self.number("-") if negative and self.take("-") else self.primary())
        # A pair of signs cancels out, as in other implementations of CEL.
        return Unary(sign, tree) if count % 2 else tree

    def members(self, tree: Node) -> Node:
        while True:
            if self.take("."):
                name = self.here
                if name.kind != "name":
                    raise self.unexpected("a name after the dot")
                self.next += 1
                tree = self.method(tree, name.text) if self.take("(") else Field(tree, name.text)
            elif self.take("["):
                key = self.choice()
                self.need("]")
                tree = Index(tree, key)
            else:
                return tree

    def method(self, target: Node, name: str) -> Node:
        args = self.listed(")")
        if isinstance(target, Name) and target.name == "math":
            return Call(f"math.{name}", None, args)
        if name not in MACROS:
            return Call(name, target, args)
        if len(args) not in MACROS[name] or not isinstance(args[0], Name):
            wanted = "x, condition" if name in ("all", "exists", "exists_one", "filter") else "x, value"
            raise ExpressionError(f"'{name}' is written list.{name}({wanted})", self.text)
        return Macro(name, target, args[0].name, args[1:])

    def listed(self, end: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self.take(end):
            items.append(self.choice())
            if not self.take(","):
                self.need(end)
                break
            if end == ")" and self.here.text == ")":
                raise self.unexpected("a value after the comma")
        return tuple(items)

    def primary(self) -> Node:
        token = self.here
        if token.kind in ("int", "float"):
            return self.number("")
        if token.kind == "string":
            self.next += 1
            return Literal(_text(token.text, self.text))
        if self.take("("):
            tree = self.choice()
            self.need(")")
            return tree
        if self.take("["):
            return Listing(self.listed("]"))
        if self.take("{"):
            return self.mapped()
        if token.kind != "name" or token.text in _RESERVED:
            raise self.unexpected("a value")
        self.next += 1
        if token.text in ("true", "false", "null"):
            return Literal({"true": True, "false": False}.get(token.text))
        return self.function(token.text) if self.take("(") else Name(token.text)

    def mapped(self) -> Node:
        pairs: list[tuple[Node, Node]] = []
        while not self.take("}"):
            key = self.choice()
            self.need(":")
            pairs.append((key, self.choice()))
            if not self.take(","):
                self.need("}")
                break
        return Mapped(tuple(pairs))

    def function(self, name: str) -> Node:
        args = self.listed(")")
        if name != "has":
            return Call(name, None, args)
        if len(args) != 1 or not isinstance(args[0], Field):
            raise ExpressionError("'has' is written has(value.field)", self.text)
        return Field(args[0].of, args[0].name, asked=True)

    def number(self, sign: str) -> Node:
        token = self.here
        self.next += 1
        text = sign + token.text
        if token.kind == "float":
            return Literal(float(text))
        number = int(text, 16) if "x" in text or "X" in text else int(text)
        if not INTEGER_MIN <= number <= INTEGER_MAX:
            raise ExpressionError(f"{text} does not fit into 64 bits", self.text)
        return Literal(number)
