"""Constants of a workflow: read from its source, and where that does not say, from its module.

The module is there only when its author has imported it to compile one of its classes; a value that it holds
is read, nothing is called.  Source: bundle contract, section 13.2.
"""

from __future__ import annotations

import ast

import mn_sdk
from mn_sdk.compiler.mistakes import shown
from mn_sdk.compiler.plain import Json, NotPlain, plain
from mn_sdk.compiler.source import HELPERS, PACKAGE, Source
from mn_sdk.workflow import Input

RUNNER_MAKERS = {f"{PACKAGE}.RunnerConfig.{kind}": kind for kind in ("host_local", "openshell")}


class Unusable(Exception):
    """An expression has no plain value that the compiler can know."""

    def __init__(self, message: str, node: ast.expr, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.node = node
        self.hint = hint


class Constants:
    """Values of expressions that depend on nothing but constants."""

    def __init__(self, source: Source, module: object) -> None:
        self._source = source
        self._module = module
        self._known: dict[str, Json | Input] = {}
        self._open: set[str] = set()

    def named(self, name: str, node: ast.expr) -> Json | Input:
        """The constant, or the input, that the module calls `name`.  Raises: Unusable."""
        if name in self._known:
            return self._known[name]
        if not self._source.knows(name) and not hasattr(self._module, name):
            hint = f"assign {name} before this line, or at the top of the module"
            raise Unusable(f"unknown workflow constant {name!r}", node, hint)
        try:
            value = self._from_source(name, node)
        except Unusable as unusable:
            value = self._from_module(name, unusable)
        self._known[name] = value
        return value

    def _from_source(self, name: str, node: ast.expr) -> Json | Input:
        message = f"workflow constant {name!r} must be JSON-serializable and side-effect free"
        expression = self._source.constants.get(name)
        if expression is None or name in self._open or self._source.may_change(name):
            raise Unusable(message, node, "assign it once, at the top of the module, to a literal")
        self._open.add(name)
        try:
            return self.evaluate(expression)
        except Unusable as unusable:
            hint = f"line {expression.lineno} has {shown(expression)}; {unusable.hint or unusable.message}"
            raise Unusable(message, node, hint) from unusable
        finally:
            self._open.discard(name)

    def _from_module(self, name: str, unusable: Unusable) -> Json | Input:
        if not hasattr(self._module, name):
            raise unusable
        value: object = getattr(self._module, name)
        try:
            return value if isinstance(value, Input) else plain(value)
        except NotPlain as problem:
            raise Unusable(unusable.message, unusable.node, str(problem)) from problem

    def evaluate(self, node: ast.expr) -> Json | Input:
        """The value of an expression made of literals, constants and helpers of mn_sdk.  Raises: Unusable."""
        match node:
            case ast.Constant(value=value):
                return _plain(value, node)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._inside(item) for item in items]
            case ast.Dict():
                return self._map(node)
            case ast.UnaryOp(
                op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as number)
            ):
                return _plain(-number if isinstance(sign, ast.USub) else number, node)
            case ast.Name(id=name):
                return self.named(name, node)
            case ast.Call():
                return self._call(node)
            case _:
                raise Unusable(
                    f"unsupported expression: {shown(node)}",
                    node,
                    "write a literal or the name of a constant",
                )

    def _inside(self, node: ast.expr) -> Json:
        value = self.evaluate(node)
        if isinstance(value, Input):
            raise Unusable(
                f"unsupported expression: {shown(node)}",
                node,
                "an input can be passed to agents, nowhere else",
            )
        return value

    def _map(self, node: ast.Dict) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self._inside(item)
            name = value if key is None else self._inside(key)
            if key is None and isinstance(value, dict):
                found.update(value)  # {**OTHERS}
            elif isinstance(name, str):
                found[name] = value
            else:
                raise Unusable(f"the keys of a map must be text: {shown(key or item)}", node)
        return found

    def _call(self, node: ast.Call) -> Json | Input:
        dotted = self._source.dotted(node.func)
        if dotted == f"{PACKAGE}.workflow.input":
            return self.input(node)
        name = dotted.removeprefix(f"{PACKAGE}.")
        if name not in HELPERS and dotted not in RUNNER_MAKERS:
            hint = "the compiler executes nothing of a workflow: write the value, or the name of a constant"
            raise Unusable(f"unsupported expression: {shown(node)}", node, hint)
        args = [self._inside(item) for item in node.args]
        given = {keyword.arg or "": self._inside(keyword.value) for keyword in node.keywords}
        helper = getattr(mn_sdk, name.split(".")[0])
        if kind := RUNNER_MAKERS.get(dotted):
            helper = getattr(helper, kind)
        try:
            return plain(helper(*args, **given))
        except (TypeError, ValueError, NotPlain) as error:
            raise Unusable(f"{name}: {error}", node) from error

    def input(self, node: ast.Call) -> Input:
        """The input that a call of ``workflow.input`` declares.  Raises: Unusable."""
        accepted = 'write workflow.input("name", default=...)'
        for keyword in node.keywords:
            if keyword.arg not in ("name", "default"):
                message = f"unsupported workflow.input() keyword {keyword.arg or '**'!r}"
                raise Unusable(message, keyword.value, accepted)
        given = dict(zip(("name", "default"), node.args, strict=False))
        given |= {str(keyword.arg): keyword.value for keyword in node.keywords}
        match given.get("name"):
            case ast.Constant(value=str(name)) if name and len(node.args) <= 2:
                pass
            case _:
                raise Unusable(
                    "workflow.input() requires a string name as the first argument", node, accepted
                )
        default = self._inside(given["default"]) if "default" in given else None
        return Input(_plain(name, node), default)


def _plain(value: object, node: ast.expr) -> Json:
    try:
        return plain(value)
    except NotPlain as problem:
        raise Unusable(f"unsupported expression: {shown(node)}", node, str(problem)) from problem
