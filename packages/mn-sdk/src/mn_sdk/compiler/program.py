"""A workflow's `run`, read as a program: which agents are called with what, and what comes out.

The method is never executed.  Source: bundle contract, section 13.2; what goes beyond a chain of calls is
told in docs/guide/what-compiles.md.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from headway_wire.manifest.dataflow import CALLS_MAX

from mn_sdk.compiler import conditions, values
from mn_sdk.compiler.agents import Agent, Agents, check_arguments
from mn_sdk.compiler.conditions import Condition
from mn_sdk.compiler.expressions import Expressions, Names, Unassigned
from mn_sdk.compiler.mistakes import Mistakes, Place, shown
from mn_sdk.compiler.plain import Json
from mn_sdk.compiler.source import Function
from mn_sdk.compiler.values import Refused, Value

P = ParamSpec("P")
T = TypeVar("T")

STATEMENTS = "only straight-line agent assignments and a final return are supported"
CALLS = "workflow statements must call decorated agents"
ACCEPTED = (
    "write name = self.agents.method(...), name = [self.agents.method(x) for x in items], "
    "if/elif/else of these, and return"
)

ARGUMENTS_MAX = 255


class Call:
    """One call of an agent.  each: what it is called for every item of; condition: when it is called."""

    __slots__ = ("agent", "args", "condition", "each", "kwargs", "line")

    def __init__(
        self,
        agent: Agent,
        args: list[Value],
        kwargs: dict[str, Value],
        *,
        each: Value | None,
        condition: Condition | None,
        line: int,
    ) -> None:
        self.agent = agent
        self.args = args
        self.kwargs = kwargs
        self.each = each
        self.condition = condition
        self.line = line

    @property
    def parts(self) -> list[Value | Condition]:
        """Everything that it depends on."""
        parts: list[Value | Condition] = [*self.args, *self.kwargs.values()]
        return parts + [part for part in (self.each, self.condition) if part is not None]

    @property
    def needs(self) -> frozenset[str]:
        """The calls that come before it."""
        return frozenset().union(*(part.needs for part in self.parts))


class Program:
    """What `run` says.

    calls: by the ids of their agents, in the order of the text.  inputs: with their defaults.
    """

    def __init__(self, calls: dict[str, Call], result: Value, inputs: dict[str, Json], line: int) -> None:
        self.calls = calls
        self.result = result
        self.inputs = inputs
        self.line = line

    def beyond_chain(self) -> tuple[int, str] | None:
        """The line, and the reason, that make it more than a chain: calls that each pass one result on."""
        before: str | None = None
        for id, call in self.calls.items():
            if call.agent.uses_action:
                return call.line, "an agent uses an action"
            if call.each is not None:
                return call.line, "an agent is called for every item of a list"
            if call.condition is not None:
                return call.line, "an agent is called in a branch"
            if before is None and not all(_is_fixed(one.tree) for one in (*call.args, *call.kwargs.values())):
                return call.line, "a value depends on a condition"
            if before is not None and ([one.tree for one in call.args] != [{"call": before}] or call.kwargs):
                return call.line, "an agent takes something else than the result of the call before it"
            before = id
        if self.result.tree != {"call": before}:
            return self.line, "what it returns is not the result of the last call"
        return None


class _Scope:
    """A block of statements while it is read.

    within: what holds in the branch that it is, all of it.  start: how much of that does so from its first
    line; the rest follows from returns within it.  ended: whether it returns in any case.
    """

    __slots__ = ("ended", "is_branch", "names", "start", "within")

    def __init__(self, names: Names, within: list[Condition], *, is_branch: bool) -> None:
        self.names: dict[str, Value | Unassigned] = dict(names)
        self.within = within
        self.start = len(within)
        self.is_branch = is_branch
        self.ended = False


class Reader:
    """Reads one `run`; mistakes are noted, and reading goes on."""

    def __init__(self, mistakes: Mistakes, expressions: Expressions, agents: Agents) -> None:
        self._mistakes = mistakes
        self._expressions = expressions
        self._agents = agents
        self._calls: dict[str, Call] = {}
        self._returns: list[tuple[Condition | None, Value]] = []
        self._self = ""

    def read(self, run: Function) -> Program:
        """The program of a method."""
        if isinstance(run, ast.AsyncFunctionDef) or not (run.args.posonlyargs or run.args.args):
            self._mistakes.note("the workflow's run must be a plain method", run, "write def run(self):")
            return Program({}, values.UNKNOWN, {}, run.lineno)
        own, *others = [*run.args.posonlyargs, *run.args.args, *run.args.kwonlyargs]
        others += [one for one in (run.args.vararg, run.args.kwarg) if one is not None]
        if others:
            hint = 'what a run is given is an input: workflow.input("topic", default=...)'
            self._mistakes.note(f"the workflow's run takes nothing but {own.arg}", others[0], hint)
        self._self = own.arg
        self._expressions.local = _assigned_in(run.body)
        body = run.body[1:] if ast.get_docstring(run, clean=False) is not None else run.body
        top = _Scope({one.arg: values.UNKNOWN for one in others}, [], is_branch=False)
        self._block(body, top)
        if not top.ended:
            hint = "end every branch with return" if self._returns else "write return self.agents.method(...)"
            self._mistakes.note("workflow run method must return the final agent call", run.body[-1], hint)
        result = values.UNKNOWN
        if self._returns:
            result = self._kept(run, result, self._result)
        return Program(self._calls, result, self._expressions.inputs, run.body[-1].lineno)

    def _result(self) -> Value:
        return self._returns[0][1] if len(self._returns) == 1 else conditions.choice(self._returns)

    # Statements -----------------------------------------------------------------------------------

    def _block(self, body: Sequence[ast.stmt], scope: _Scope) -> None:
        for statement in body:
            if isinstance(statement, ast.Pass):
                continue
            if scope.ended:
                self._mistakes.note(STATEMENTS, statement, "nothing runs after a return")
                return
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if (
                    name == self._self
                ):
                    self._mistakes.note(STATEMENTS, statement, f"{name} is the workflow: take another name")
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    scope.names[name] = self._assigned(value, scope)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    scope.names[name] = self._assigned(value, scope)
                case ast.Assign(targets=targets):
                    hint = "write name = self.agents.method(...), and take results apart where they are used"
                    self._mistakes.note("agent call assignments must use one local variable", statement, hint)
                    self._define(targets, statement.value, scope)
                case ast.Return(value=value):
                    self._returned(value, statement, scope)
                case ast.If():
                    self._branches(statement, scope)
                case _:
                    hint = (
                        f"give the call a name: done = {shown(statement)}"
                        if _is_call(statement)
                        else ACCEPTED
                    )
                    self._mistakes.note(STATEMENTS, statement, hint)

    def _define(self, targets: list[ast.expr], value: ast.expr, scope: _Scope) -> None:
        """Read an assignment that is a mistake for more of them; to use its names is none."""
        if isinstance(value, ast.Call):
            self._call(value, scope.names, scope)
        for target in targets:
            for node in ast.walk(target):
                if isinstance(node, ast.Name):
                    scope.names[node.id] = values.UNKNOWN

    def _assigned(self, node: ast.expr, scope: _Scope) -> Value:
        if isinstance(node, ast.ListComp):
            return self._scatter(node, scope)
        if isinstance(node, ast.Call) and not self._is_value(node):
            return self._call(node, scope.names, scope)
        if scope.is_branch:
            return self._expressions.argument(node, scope.names)
        self._mistakes.note(CALLS, node, "a value needs no name here: write it where it is used")
        return values.UNKNOWN

    def _returned(self, node: ast.expr | None, statement: ast.Return, scope: _Scope) -> None:
        scope.ended = True
        if isinstance(node, ast.ListComp):
            value = self._scatter(node, scope)
        elif isinstance(node, ast.Call) and not self._is_value(node):
            value = self._call(node, scope.names, scope)
        elif node is None or isinstance(node, ast.Constant):
            self._mistakes.note(CALLS, statement, "return a call, a result, or a list or map of results")
            value = values.UNKNOWN
        else:
            before = len(self._mistakes)
            value = self._expressions.argument(node, scope.names)
            if not value.needs and len(self._mistakes) == before:
                self._mistakes.note(CALLS, statement, "return a call, a result, or a list or map of results")
        self._returns.append((self._within(scope, statement), value))

    def _is_value(self, node: ast.Call) -> bool:
        """Whether a call is none of an agent but a value: ``result.get("key")``."""
        match node.func:
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id=name)), attr="get") if (
                name == self._self
            ):
                return False
            case ast.Attribute(attr="get"):
                return True
            case _:
                return False

    def _kept(self, place: Place, default: T, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `make` makes; when it refuses, that is noted and the default stands for it."""
        try:
            return make(*args, **kwargs)
        except Refused as refused:
            self._mistakes.note(refused.message, place, refused.hint)
            return default

    def _within(self, scope: _Scope, place: Place) -> Condition | None:
        """The condition of a call or a return in a block; None for always."""
        return self._kept(place, None, conditions.every, scope.within) if scope.within else None

    # Branches -------------------------------------------------------------------------------------

    def _branches(self, statement: ast.If, scope: _Scope) -> None:
        arms: list[tuple[Condition | None, _Scope]] = []
        others: list[Condition] = []
        node: ast.If | None = statement
        rest: list[ast.stmt] = []
        while node is not None:
            test = self._expressions.condition(node.test, scope.names)
            arms.append((test, self._arm(node.body, scope, [*others, test])))
            others.append(self._kept(node, test, conditions.negated, test))
            rest = node.orelse
            node = rest[0] if len(rest) == 1 and isinstance(rest[0], ast.If) else None
        arms.append((None, self._arm(rest, scope, others)))
        going_on = [(test, arm) for test, arm in arms if not arm.ended]
        if not going_on:
            scope.ended = True
            return
        scope.within = scope.within + self._after([arm for _, arm in arms], len(scope.within), statement)
        scope.names = self._joined(going_on, statement)

    def _arm(self, body: Sequence[ast.stmt], scope: _Scope, tests: list[Condition]) -> _Scope:
        arm = _Scope(scope.names, scope.within + tests, is_branch=True)
        self._block(body, arm)
        return arm

    def _after(self, arms: list[_Scope], outside: int, place: ast.If) -> list[Condition]:
        """What holds after branches, some of which return; `outside`: how much of it held before them."""
        ended = [arm for arm in arms if arm.ended]
        if all(len(arm.within) == arm.start for arm in arms):
            if not ended:
                return []
            return self._kept(place, [], lambda: [conditions.negated(_one_of(ended, outside))])
        return self._kept(place, [], lambda: [_one_of([arm for arm in arms if not arm.ended], outside)])

    def _joined(
        self, arms: list[tuple[Condition | None, _Scope]], statement: ast.If
    ) -> dict[str, Value | Unassigned]:
        """What names stand for after the branches: what each of them says, by the same conditions."""
        names = dict.fromkeys(name for _, arm in arms for name in arm.names)
        joined: dict[str, Value | Unassigned] = {}
        for name in names:
            found = [(test, arm.names.get(name)) for test, arm in arms]
            if all(value is found[0][1] for _, value in found) and found[0][1] is not None:
                joined[name] = found[0][1]
                continue
            known = [(test, value) for test, value in found if isinstance(value, Value)]
            if len(known) < len(found):
                joined[name] = Unassigned(statement.lineno)
            else:
                joined[name] = self._kept(statement, known[0][1], conditions.choice, known)
        return joined

    # Calls ----------------------------------------------------------------------------------------

    def _scatter(self, node: ast.ListComp, scope: _Scope) -> Value:
        hint = "write [self.agents.method(x, ...) for x in items]"
        match node:
            case ast.ListComp(
                elt=ast.Call() as call,
                generators=[ast.comprehension(target=ast.Name(id=name), iter=items, ifs=[], is_async=0)],
            ):
                pass
            case _:
                self._mistakes.note(f"unsupported scatter: {shown(node)}", node, hint)
                return values.UNKNOWN
        each = self._expressions.argument(items, scope.names)
        what = each.tree.get("literal", [])
        if "map" in each.tree or not isinstance(what, list):
            self._mistakes.note(f"unsupported scatter: {shown(items)} is not a list", items, hint)
        if name == self._self:
            self._mistakes.note(f"unsupported scatter: {shown(node)}", node, f"{name} is the workflow")
        return self._call(call, {**scope.names, name: values.ITEM}, scope, each=each)

    def _call(self, node: ast.Call, names: Names, scope: _Scope, *, each: Value | None = None) -> Value:
        agent = self._agent(node)
        args: list[Value] = []
        kwargs: dict[str, Value] = {}
        for arg in node.args:
            args.append(self._expressions.argument(arg, names))
        for keyword in node.keywords:
            if keyword.arg is None:
                text = f"unsupported argument expression: **{shown(keyword.value)}"
                self._mistakes.note(text, keyword.value, "write each argument by its name")
            else:
                kwargs[keyword.arg] = self._expressions.argument(keyword.value, names)
        if agent is None:
            return values.UNKNOWN
        if agent.id in self._calls:
            line = self._calls[agent.id].line
            hint = f"it is called in line {line} too; decorate another method for this call"
            self._mistakes.note(f"duplicate node_id {agent.id!r} in workflow", node, hint)
            return values.result(agent.id)
        if len(self._calls) >= CALLS_MAX or len(args) > ARGUMENTS_MAX:
            self._mistakes.note(f"more than {CALLS_MAX} calls, or {ARGUMENTS_MAX} arguments of one", node)
        if not any(isinstance(arg, ast.Starred) for arg in node.args) and None not in {
            k.arg for k in node.keywords
        }:
            check_arguments(self._mistakes, agent, args, kwargs, node)
        if agent.uses_action:
            self._check_parameters(agent, args, kwargs, node)
        condition = self._within(scope, node)
        self._calls[agent.id] = Call(agent, args, kwargs, each=each, condition=condition, line=node.lineno)
        return values.result(agent.id)

    def _check_parameters(
        self, agent: Agent, args: list[Value], kwargs: dict[str, Value], place: Place
    ) -> None:
        is_map = not args or not args[0].is_literal or isinstance(args[0].tree["literal"], dict)
        if len(args) > 1 or (args and kwargs) or not is_map:
            hint = f"write self.agents.{agent.method}(path=..., ...)"
            message = f"agent {agent.id!r} uses an action: it takes parameters by name, or one map of them"
            self._mistakes.note(message, place, hint)

    def _agent(self, node: ast.Call) -> Agent | None:
        match node.func:
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr=attribute), attr=method):
                if name == self._self:
                    return self._agents.find(attribute, method, node)
            case ast.Attribute(attr=method):
                pass
            case _:
                text = "agent calls must use attribute syntax, such as self.agents.ingress()"
                self._mistakes.note(text, node, f"found {shown(node.func)}(...)")
                return None
        hint = f"agents are called as {self._self}.agents.{method}(...)"
        self._mistakes.note(f"could not uniquely resolve decorated agent {method!r}", node, hint)
        return None


def _assigned_in(body: Sequence[ast.stmt]) -> dict[str, int]:
    """The names that a block assigns, and the line where it does so first."""
    found: dict[str, int] = {}
    for node in (node for statement in body for node in ast.walk(statement)):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = min(node.lineno, found.get(name, node.lineno))
            case _:
                pass
    return found


def _one_of(arms: list[_Scope], outside: int) -> Condition:
    """One of the branches is taken, and goes on."""
    return conditions.some([conditions.every(arm.within[outside:]) for arm in arms])


def _is_call(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)


def _is_fixed(tree: dict[str, Json]) -> bool:
    """Whether a value is made of literals and inputs only."""
    match tree:
        case {"literal": _} | {"input": _}:
            return True
        case {"list": list(parts)}:
            return all(_is_fixed(part) for part in parts)
        case {"map": dict(parts)}:
            return all(_is_fixed(part) for part in parts.values())
        case _:
            return False
