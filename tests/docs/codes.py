"""The stable codes of errors and failures, as the source uses them.  Reads syntax; runs nothing.

A code is text that reaches a parameter named `code`: of an error, of a `Failure`, or of a function that makes
either.  It may get there through a variable of the same function, `or`, or a conditional expression.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headway.links.outcome import ANSWERED
from headway.ports import OPEN_STATUSES
from headway.service.executions import STATUSES
from headway_wire.errors import GRPC_KINDS, KINDS

from tests.tidy.tree import PythonFile, Tree

FAILURE = "failure"
"""What stands for the kind of a code that no error class carries: how a step or a run failed."""

_SIMULATED = "/simulation/"
"""Failures of an invented world; nobody meets them."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Used:
    """Where a code is used, and with which kinds of error."""

    places: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)


def codes_in(tree: Tree) -> dict[str, Used]:
    """Every code in the sources of `tree`, by name."""
    modules = [module for module in tree.modules if "/src/" in module.path and _SIMULATED not in module.path]
    positions = _positions(modules)
    found: dict[str, Used] = {}
    for module in modules:
        for code, kind, line in _codes_of(module, positions):
            used = found.setdefault(code, Used())
            used.places.append(f"{module.path}:{line}")
            used.kinds.add(kind)
    return found


def codes_of_the_table() -> dict[str, str]:
    """The codes that the tree of errors gives by itself, with their kinds: each kind's own, and gRPC's."""
    own = {kind: kind for kind in KINDS}
    return own | {code: cls.kind for cls, code in GRPC_KINDS.values() if code}


def put_together(start: str) -> set[str]:
    """The codes made of `start` and something else.  Raises KeyError for a start that is new here."""
    answers = ANSWERED - {"UNKNOWN", "INTERNAL"}  # Those two are plugin_failed.
    ends = {
        "plugin_": {cls.kind for status, (cls, _) in GRPC_KINDS.items() if status in answers},
        "child_": set(STATUSES) - {*OPEN_STATUSES, "succeeded"},
    }
    return {start + end for end in ends[start]}


def _positions(modules: list[PythonFile]) -> dict[str, int]:
    """By the name of a function or class: which positional argument is the code, for those that have one."""
    positions = {"Failure": 0}
    for module in modules:
        for node in ast.walk(module.syntax):
            if isinstance(node, Function):
                names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
                names = names[1:] if names[:1] == ["self"] else names
                if "code" in names:
                    positions[node.name] = names.index("code")
    return positions


def _codes_of(module: PythonFile, positions: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    for scope in _scopes(module.syntax):
        for node in _inside(scope):
            match node:
                case ast.Call():
                    for value in _given(node, positions):
                        kind = _kind(_last(node.func))
                        yield from ((code, kind, node.lineno) for code in _texts(value, scope))
                case ast.arguments():
                    yield from ((code, FAILURE, scope.lineno) for code in _defaults(node))
                case _:
                    pass


def _scopes(syntax: ast.Module) -> Iterator[Function]:
    """Every function; what stands outside of functions is in one of its own."""
    top = ast.parse("def top(): pass").body[0]
    assert isinstance(top, ast.FunctionDef)
    top.body = [node for node in syntax.body if not isinstance(node, Function | ast.ClassDef)]
    yield top
    yield from (node for node in ast.walk(syntax) if isinstance(node, Function))


def _inside(scope: Function) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions in it."""
    waiting: list[ast.AST] = [scope.args, *(node for node in scope.body if not isinstance(node, Function))]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, Function)]


def _given(call: ast.Call, positions: Mapping[str, int]) -> Iterator[ast.expr]:
    """What a call gives as the code."""
    yield from (keyword.value for keyword in call.keywords if keyword.arg == "code")
    at = positions.get(_last(call.func))
    if at is not None and at < len(call.args):
        yield call.args[at]
    if _last(call.func) == "Result":  # Its error is a tuple: code, message, whether a retry helps.
        yield from (arg.elts[0] for arg in call.args if isinstance(arg, ast.Tuple) and len(arg.elts) == 3)


def _texts(value: ast.expr, scope: Function) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.BoolOp():
            for part in value.values:
                yield from _texts(part, scope)
        case ast.IfExp():
            yield from _texts(value.body, scope)
            yield from _texts(value.orelse, scope)
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]):
            yield from put_together(start)
        case ast.Name(id=name):
            for node in _inside(scope):
                if isinstance(node, ast.Assign) and any(_last(target) == name for target in node.targets):
                    yield from _texts(node.value, scope)
        case _:
            pass


def _defaults(arguments: ast.arguments) -> Iterator[str]:
    """The text that a parameter `code` has when nothing is given."""
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = [*zip(reversed(positional), reversed(arguments.defaults), strict=False)]
    pairs += [
        (name, value)
        for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if value
    ]
    for name, value in pairs:
        if (
            name.arg == "code"
            and isinstance(value, ast.Constant)
            and isinstance(value.value, str)
            and value.value
        ):
            yield value.value


def _kind(name: str) -> str:
    """The kind of the error class `name`, or FAILURE."""
    return next((kind for kind, cls in KINDS.items() if cls.__name__ == name), FAILURE)


def _last(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case _:
            return ""
