"""The source of a workflow: its file as syntax.  Nothing of it is executed.

Source: bundle contract, section 13.2.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from mn_sdk.compiler.mistakes import BundleCompileError, Mistakes
from mn_sdk.compiler.steady import Bindings

SOURCE_BYTES_MAX = 4 * 1024 * 1024

Function = ast.FunctionDef | ast.AsyncFunctionDef

Rare = TypeVar("Rare", bound=ast.stmt)

PACKAGE = "mn_sdk"

_RARE = re.compile(rb"\b(global|from(?=\s*[.\\]))")
"""Words of statements that are looked for anywhere, and seldom there: `global`, and `from` before a dot."""


class Source:
    """A module of Python, read and not run.

    name: how the worker imports it, the name of its file without the ending.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self.mistakes = Mistakes(str(path))
        self.tree, text = _parsed(path)
        self._words = set(_RARE.findall(text))
        self.classes: dict[str, ast.ClassDef] = {}
        self.constants: dict[str, ast.expr] = {}
        self._perhaps: set[str] = set()
        self._imports: dict[str, str] = {}
        self._names: dict[ast.ClassDef, dict[str, list[ast.stmt]]] = {}
        self._read(self.tree.body)

    def _read(self, body: Iterable[ast.stmt], *, always: bool = True) -> None:
        """Take in what the statements of the module define.  always: whether they run in any case."""
        for statement in body:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    self._imports.update(_imported(statement))
                case ast.ClassDef(name=name):
                    self.classes[name] = statement
                    if not always:
                        self._perhaps.add(name)
                case _:
                    for target, value in _assignments(statement):
                        if isinstance(target, ast.Name) and always:
                            self.constants[target.id] = value
            for inner in _inner_blocks(statement):
                self._read(inner, always=False)

    @cached_property
    def _bindings(self) -> Bindings:
        shared = [name for node in self._rare(b"global", ast.Global) for name in node.names]
        return Bindings(self.tree, self.dotted, shared)

    def is_repeated(self, name: str) -> bool:
        """Whether only the running module knows which class a name means."""
        return name in self._perhaps or name in self._bindings.again

    def may_change(self, name: str) -> bool:
        """Whether only the running module knows the value of a constant."""
        plain = isinstance(self.constants.get(name), ast.Constant)
        return name in self._bindings.again or (name in self._bindings.changed and not plain)

    def knows(self, name: str) -> bool:
        """Whether the module defines `name`, whatever it is."""
        return name in self._bindings.bound

    def dotted(self, node: ast.expr) -> str:
        """What a name with attributes stands for by the imports: ``mn_sdk.agent.defn``; "" if for nothing."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._imports:
            return ""
        return ".".join([self._imports[node.id], *reversed(parts)])

    @cached_property
    def relative_imports(self) -> list[ast.ImportFrom]:
        """Imports that a bundle cannot follow, because its folder of sources is no package."""
        return [node for node in self._rare(b"from", ast.ImportFrom) if node.level]

    def _rare(self, word: bytes, kind: type[Rare]) -> list[Rare]:
        """All statements of a kind, wherever they are; a text without their word is not searched."""
        if word not in self._words:
            return []
        return [node for node in ast.walk(self.tree) if isinstance(node, kind)]

    def decorator(self, node: ast.ClassDef | Function, name: str) -> ast.expr | None:
        """The decorator `name` of ours on a class or function, or None."""
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self.dotted(called) == f"{PACKAGE}.{name}":
                return decorator
        return None

    def methods(self, cls: ast.ClassDef, name: str) -> list[ast.stmt]:
        """What defines `name` in a class, or in the first of its bases here that has it."""
        return next((own[name] for one in self._lineage(cls) if name in (own := self._own_names(one))), [])

    def _lineage(self, cls: ast.ClassDef, below: tuple[str, ...] = ()) -> list[ast.ClassDef]:
        """A class and its bases here, in the order in which Python looks into them."""
        names = [base.id for base in cls.bases if isinstance(base, ast.Name)]
        bases = [self.classes[name] for name in names if name in self.classes and name not in below]
        waiting = [self._lineage(base, (*below, cls.name)) for base in bases] + [bases]
        found = [cls]
        while waiting := [line for line in waiting if line]:
            heads = [line[0] for line in waiting]
            # No head without others before it: Python refuses such a class when the module runs.
            best = next((one for one in heads if not any(one in line[1:] for line in waiting)), heads[0])
            found.append(best)
            waiting = [[one for one in line if one is not best] for line in waiting]
        return found

    def _own_names(self, cls: ast.ClassDef) -> dict[str, list[ast.stmt]]:
        """What defines the names that stand in a class itself."""
        if cls not in self._names:
            own = self._names[cls] = {}
            for node in cls.body:
                if isinstance(node, Function):
                    own.setdefault(node.name, []).append(node)
                for target, _ in _assignments(node):
                    if isinstance(target, ast.Name):
                        own.setdefault(target.id, []).append(node)
        return self._names[cls]

    def members(self, cls: ast.ClassDef) -> dict[str, list[ast.expr | None]]:
        """What a workflow's attributes are made of: the values assigned in its class and in its methods.

        None stands for an assignment that does not always happen, as outside of `__init__`.
        """
        found: dict[str, list[ast.expr | None]] = {}
        for statement in cls.body:
            for target, value in _assignments(statement):
                if isinstance(target, ast.Name):
                    found[target.id] = [value]
        assigned: dict[str, list[ast.expr | None]] = {}
        for method in dict.fromkeys([*self.methods(cls, "__init__")[-1:], *cls.body]):
            if isinstance(method, Function) and self.decorator(method, "workflow.run") is None:
                for attribute, made in _made_in(method):
                    assigned.setdefault(attribute, []).append(made)
        return found | assigned


def _parsed(path: Path) -> tuple[ast.Module, bytes]:
    """The syntax of a file, and its text.  Raises: BundleCompileError when there is none."""
    file = str(path)
    mistakes = Mistakes(file)
    if path.exists() and not path.is_file():  # To open a pipe would be to wait.
        raise BundleCompileError(f"the workflow's file is not a regular file: {file}")
    try:
        with open(path, "rb") as opened:
            content = opened.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        raise BundleCompileError(f"the workflow's file cannot be read: {file}: {error.strerror}") from error
    if len(content) > SOURCE_BYTES_MAX:
        raise BundleCompileError(f"the workflow's file has more than {SOURCE_BYTES_MAX} bytes: {file}")
    try:
        return ast.parse(content, file), content
    except SyntaxError as error:
        mistakes.note(f"invalid syntax: {error.msg}", error.lineno or 0)
        raise mistakes.error(path.name) from error
    except (ValueError, RecursionError, MemoryError) as error:
        mistakes.note(f"the file cannot be parsed: {str(error) or 'it is nested too deeply'}")
        raise mistakes.error(path.name) from error


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """The names that an import defines, with what they stand for."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            first = alias.name.split(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (first, first)
    elif statement.level == 0 and statement.module:
        for alias in statement.names:
            if alias.name == "*" and statement.module == PACKAGE:
                yield from ((name, f"{PACKAGE}.{name}") for name in ("agent", "workflow", *HELPERS))
            yield alias.asname or alias.name, f"{statement.module}.{alias.name}"


HELPERS = (
    *("BackpressurePolicy", "RetryPolicy", "RunnerConfig"),
    *("delayed_schedule", "event_schedule", "periodic_schedule"),
)
"""What of ours options may be made with: functions without effects, which are called for their value."""


def _inner_blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of statements in a statement of a module that run there, perhaps."""
    match statement:
        case ast.If() | ast.For() | ast.While():
            yield from (statement.body, statement.orelse)
        case ast.With():
            yield statement.body
        case ast.Try() | ast.TryStar():
            yield from (statement.body, statement.orelse, statement.finalbody)
            yield from (handler.body for handler in statement.handlers)
        case ast.Match(cases=cases):
            yield from (case.body for case in cases)
        case _:
            pass


def _made_in(method: Function) -> Iterator[tuple[str, ast.expr | None]]:
    """The attributes that a method gives its object, with the values that `__init__` gives in any case."""
    own = method.args.args[0].arg if method.args.args else ""
    first = method.body if method.name == "__init__" else []
    always = {target: value for node in first for target, value in _assignments(node)}
    for node in ast.walk(method):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute, ctx=ast.Store() | ast.Del()):
                if name == own:
                    yield attribute, always.get(node)
            case _:
                pass


def _assignments(statement: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    match statement:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield target, value
        case _:
            pass
