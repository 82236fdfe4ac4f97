"""The source of a workflow: its file as syntax.  Nothing of it is executed.

Source: bundle contract, section 13.2.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from mn_sdk.compiler.mistakes import BundleCompileError, Mistakes

SOURCE_BYTES_MAX = 4 * 1024 * 1024

Function = ast.FunctionDef | ast.AsyncFunctionDef

PACKAGE = "mn_sdk"


class Source:
    """A module of Python, read and not run.

    name: how the worker imports it, the name of its file without the ending.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self.mistakes = Mistakes(str(path))
        self.tree = _parsed(path)
        self.classes: dict[str, ast.ClassDef] = {}
        self.repeated: set[str] = set()
        """Classes that are defined twice: which one counts is known only when the module runs."""
        self.constants: dict[str, ast.expr] = {}
        self.changed: set[str] = set()
        """Names whose value is known only when the module runs."""
        self._imports: dict[str, str] = {}
        self._methods: dict[ast.ClassDef, dict[str, list[Function]]] = {}
        self._read(self.tree.body)

    def _read(self, body: Iterable[ast.stmt], *, always: bool = True) -> None:
        """Take in what the statements of the module define.  always: whether they run in any case."""
        for statement in body:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    self._imports.update(_imported(statement))
                case ast.ClassDef(name=name):
                    if name in self.classes or not always:
                        self.repeated.add(name)
                    self.classes[name] = statement
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._assigned(target, value if always else None)
                case ast.AnnAssign(target=target, value=value):
                    if value is not None:
                        self._assigned(target, value if always else None)
                case ast.AugAssign(target=target) | ast.For(target=target):
                    self._assigned(target, None)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self.changed.add(name)
                case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
                    self.changed.add(name)  # As in NAMES.append("x").
                case _:
                    pass
            for inner in _inner_blocks(statement):
                self._read(inner, always=False)

    def _assigned(self, target: ast.expr, value: ast.expr | None) -> None:
        match target:
            case ast.Name(id=name):
                if value is None or name in self.constants:
                    self.changed.add(name)
                if value is not None:
                    self.constants[name] = value
            case _:
                self.changed.update(node.id for node in ast.walk(target) if isinstance(node, ast.Name))

    def knows(self, name: str) -> bool:
        """Whether the module defines `name`, whatever it is."""
        defined = (self.constants, self.changed, self.classes, self._imports)
        return any(name in names for names in defined)

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
        """Imports of the module that a bundle cannot follow, because its folder of sources is no package."""
        return [node for node in self.tree.body if isinstance(node, ast.ImportFrom) and node.level]

    def decorator(self, node: ast.ClassDef | Function, name: str) -> ast.expr | None:
        """The decorator `name` of ours on a class or function, or None."""
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self.dotted(called) == f"{PACKAGE}.{name}":
                return decorator
        return None

    def methods(self, cls: ast.ClassDef, name: str) -> list[Function]:
        """The definitions of the method `name` in a class, or in the first of its bases here that has one."""
        waiting, seen = [cls], {cls.name}
        while waiting:
            current = waiting.pop(0)
            if found := self._own_methods(current).get(name):
                return found
            for base in reversed(current.bases):
                if isinstance(base, ast.Name) and base.id in self.classes and base.id not in seen:
                    seen.add(base.id)
                    waiting.insert(0, self.classes[base.id])
        return []

    def _own_methods(self, cls: ast.ClassDef) -> dict[str, list[Function]]:
        """The methods that stand in a class itself, by name."""
        if cls not in self._methods:
            own = self._methods[cls] = {}
            for node in cls.body:
                if isinstance(node, Function):
                    own.setdefault(node.name, []).append(node)
        return self._methods[cls]

    def members(self, cls: ast.ClassDef) -> dict[str, list[ast.expr | None]]:
        """What a workflow's attributes are made of: the values assigned in its class and in its `__init__`.

        None stands for an assignment that does not always happen.
        """
        found: dict[str, list[ast.expr | None]] = {}
        for statement in cls.body:
            for target, value in _assignments(statement):
                if isinstance(target, ast.Name):
                    found[target.id] = [value]
        in_init: dict[str, list[ast.expr | None]] = {}
        for method in self.methods(cls, "__init__")[-1:]:
            own = method.args.args[0].arg if method.args.args else ""
            for node in ast.walk(method):
                for target, value in _assignments(node):
                    match target:
                        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == own:
                            always = node in method.body
                            in_init.setdefault(attribute, []).append(value if always else None)
                        case _:
                            pass
        return found | in_init


def _parsed(path: Path) -> ast.Module:
    """The syntax of a file.  Raises: BundleCompileError when there is none."""
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
        return ast.parse(content, file)
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


def _assignments(statement: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    match statement:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield target, value
        case _:
            pass
