"""Which names of a module keep the value that they are assigned, as far as its text can say.

Followed is what runs when the module is imported: its statements, the bodies of its classes, and the
functions of its own that are called there.  Where a change is possible, it counts as one.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection

CHANGERS = frozenset(
    {
        *("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"),
        *("popitem", "setdefault", "update", "__setitem__", "__delitem__", "__iadd__", "__ior__"),
    }
)
"""Methods of lists and maps that change them."""

READERS = frozenset(
    {
        *(
            "all",
            "any",
            "bool",
            "dict",
            "enumerate",
            "float",
            "frozenset",
            "int",
            "isinstance",
            "len",
            "list",
        ),
        *(
            "max",
            "min",
            "print",
            "range",
            "repr",
            "reversed",
            "set",
            "sorted",
            "str",
            "sum",
            "tuple",
            "type",
            "zip",
        ),
    }
)
"""Functions that change nothing of what they are given; also those of `PURE`."""

OURS = "mn_sdk."
PURE = (OURS, "json.", "copy.", "typing.", "os.path.", "math.")

_OWN_SCOPE = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Bindings:
    """What happens to the names of a module.

    bound: how often a name is given a value.  again: names that may be given another one.  changed: names
    whose list or map may be changed.
    """

    def __init__(self, tree: ast.Module, dotted: Callable[[ast.expr], str], shared: Collection[str]) -> None:
        """dotted: what an expression stands for by imports.  shared: names that functions declare global."""
        self.bound: Counter[str] = Counter()
        self.changed: set[str] = set()
        self._dotted = dotted
        self._parts: dict[str, set[str]] = {}
        self._functions = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS)}
        for statement in tree.body:
            self._follow(statement)
        self.again = {name for name, count in self.bound.items() if count > 1}
        self.again.update(shared)
        waiting = list(self.changed)
        while waiting:  # What is within a list that changes may change.
            inner = self._parts.get(waiting.pop(), set()) - self.changed
            self.changed |= inner
            waiting += inner

    def _follow(self, statement: ast.stmt) -> None:
        """Note what a statement of the module does when it runs."""
        waiting: list[tuple[ast.AST, bool]] = [(statement, True)]
        while waiting:
            node, is_module = waiting.pop()
            if isinstance(node, ast.stmt | ast.expr | ast.ExceptHandler | ast.pattern):
                if isinstance(node, ast.Name):
                    if is_module and not isinstance(node.ctx, ast.Load):
                        self.bound[node.id] += 1 if isinstance(node.ctx, ast.Store) else 2
                    continue
                if isinstance(node, ast.Constant):
                    continue
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    self._defined(node, waiting, is_module=is_module)
                    continue
                self._note(node, waiting, is_module=is_module)
                if isinstance(node, ast.Lambda):
                    continue
                is_module = is_module and not isinstance(node, _OWN_SCOPE)
            waiting += [(inner, is_module) for inner in ast.iter_child_nodes(node)]

    def _defined(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
        waiting: list[tuple[ast.AST, bool]],
        *,
        is_module: bool,
    ) -> None:
        self.bound[node.name] += is_module
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if not self._dotted(called).startswith(OURS):  # What ours are given, they only keep.
                self._called(decorator, waiting)
                waiting.append((decorator, is_module))
        if isinstance(node, ast.ClassDef):
            waiting += [(part, is_module) for part in (*node.bases, *node.keywords)]
            waiting += [(part, False) for part in node.body]
        else:
            waiting += [(part, is_module) for part in node.args.defaults]

    def _note(self, node: ast.AST, waiting: list[tuple[ast.AST, bool]], *, is_module: bool) -> None:
        """Note what a node does besides what is within it."""
        match node:
            case ast.Call(func=func):
                self._given(node)
                self._called(func, waiting)
            case ast.NamedExpr(target=ast.Name(id=name)) if not is_module:
                self.bound[name] += 1  # From within a comprehension, too.
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                self._imported(node, [alias.asname or alias.name.split(".")[0] for alias in names], is_module)
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                self.bound[name] += is_module
            case ast.MatchMapping(rest=str(name)):
                self.bound[name] += is_module
            case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
                self.changed |= _root(node)
            case ast.Assign(targets=targets, value=value):
                self._within(targets, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._within([target], value)
            case ast.For(target=target, iter=value):
                self._within([target], value)
            case _:
                pass

    def _called(self, callee: ast.expr, waiting: list[tuple[ast.AST, bool]]) -> None:
        """Follow the body of an own function that is called: once each."""
        found = self._functions.pop(callee.id, None) if isinstance(callee, ast.Name) else None
        if found is not None:
            waiting += [(part, False) for part in found.body]

    def _given(self, call: ast.Call) -> None:
        """What a call may change: what it is a method of, or what it is given."""
        if isinstance(call.func, ast.Attribute) and call.func.attr in CHANGERS:
            self.changed |= _root(call.func)
        name = self._dotted(call.func) or (call.func.id if isinstance(call.func, ast.Name) else "")
        if name in READERS or name.startswith(PURE):
            return
        for given in (*call.args, *(keyword.value for keyword in call.keywords)):
            self.changed |= _names(given)

    def _within(self, targets: list[ast.expr], value: ast.expr) -> None:
        held = _names(value)
        for target in targets:
            for name in _names(target):
                self._parts.setdefault(name, set()).update(held)

    def _imported(self, node: ast.AST, names: list[str], is_module: bool) -> None:
        for name in names:
            if name != "*":
                self.bound[name] += is_module
            elif not (isinstance(node, ast.ImportFrom) and node.module == "mn_sdk"):
                self.bound.update(list(self.bound))  # It may have any of the names before it.


def _root(node: ast.expr) -> set[str]:
    """The name that an expression looks into: X in ``X["k"][0].append``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _names(node: ast.expr) -> set[str]:
    """The names whose values an expression may hold; what a call returns is its own."""
    found: set[str] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Name):
            found.add(part.id)
        elif not isinstance(part, ast.Call | ast.Lambda):
            waiting += ast.iter_child_nodes(part)
    return found
