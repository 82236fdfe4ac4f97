"""Agents of a workflow: which method a call means, and whether its arguments fit.

Source: bundle contract, section 13.2.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence

from mn_sdk import agent as agent_module
from mn_sdk.compiler.constants import Constants
from mn_sdk.compiler.mistakes import Mistakes, Place
from mn_sdk.compiler.options import mark_of, read_options
from mn_sdk.compiler.plain import Json
from mn_sdk.compiler.source import Function, Source

DECORATOR = "agent.defn"


class Agent:
    """A decorated method.  id: its node's.  owner: the class that the worker makes to call it."""

    __slots__ = ("id", "line", "method", "options", "owner", "syntax")

    def __init__(self, id: str, owner: str, syntax: Function, options: dict[str, Json], line: int) -> None:
        self.id = id
        self.owner = owner
        self.method = syntax.name
        self.syntax = syntax
        self.options = options
        self.line = line

    @property
    def uses_action(self) -> bool:
        """Whether a governed action is its work."""
        return "uses_action" in self.options


class Agents:
    """The agents that a workflow's attributes offer."""

    def __init__(self, source: Source, workflow: ast.ClassDef, constants: Constants, module: object) -> None:
        self._source = source
        self._mistakes = source.mistakes
        self._constants = constants
        self._module = module
        self._members = source.members(workflow)
        self._known: dict[tuple[str, str], Agent | None] = {}

    def find(self, attribute: str, method: str, place: Place) -> Agent | None:
        """The agent of ``self.<attribute>.<method>``; None when there is none, which is noted."""
        owner = self._owner(attribute, method, place)
        if owner is None:
            return None
        key = (owner.name, method)
        if key not in self._known:
            self._known[key] = self._agent(owner, method, place)
        return self._known[key]

    def _owner(self, attribute: str, method: str, place: Place) -> ast.ClassDef | None:
        """The class that is assigned to an attribute of the workflow."""
        hint = f"assign a class of this file to it, once, in __init__: self.{attribute} = ResearchAgents()"
        match self._members.get(attribute):
            case [ast.Call(func=ast.Name(id=name), args=[], keywords=[])] if name in self._source.classes:
                if not self._source.is_repeated(name):
                    return self._source.classes[name]
                hint = f"class {name} must be defined once, at the top of the module"
            case [ast.Call(func=ast.Name(id=name), args=[], keywords=[])]:
                hint = f"class {name} must be defined in {self._source.path.name}"
            case [ast.Call(func=ast.Name(id=name))]:
                hint = f"the worker makes {name} without arguments: self.{attribute} = {name}()"
            case None:
                hint = f"self.{attribute} is not assigned; {hint}"
            case _:
                pass
        self._mistakes.note(f"could not uniquely resolve decorated agent {method!r}", place, hint)
        return None

    def _agent(self, owner: ast.ClassDef, method: str, place: Place) -> Agent | None:
        message = f"could not uniquely resolve decorated agent {method!r}"
        found = self._source.methods(owner, method)
        if len(found) != 1 or not isinstance(found[0], Function):
            hint = f"class {owner.name} defines it {len(found)} times; define it once, with @{DECORATOR}(...)"
            self._mistakes.note(message, place, hint)
            return None
        syntax = found[0]
        decorator = self._source.decorator(syntax, DECORATOR)
        if decorator is None:
            self._mistakes.note(message, place, f"decorate {owner.name}.{method} with @{DECORATOR}(...)")
            return None
        self._check_owner(owner)
        mark = mark_of(self._module, f"{owner.name}.{method}", agent_module.MARK)
        options = read_options(self._mistakes, self._constants, decorator, DECORATOR, agent_module.defn, mark)
        name = options.get("name", method)
        if not isinstance(name, str) or not name:
            self._mistakes.note(f"the name of agent {method!r} must be text, found {name!r}", decorator)
            return None
        return Agent(name, owner.name, syntax, options, decorator.lineno)

    def _check_owner(self, owner: ast.ClassDef) -> None:
        for init in self._source.methods(owner, "__init__")[-1:]:
            needed = _Parameters(init).required if isinstance(init, Function) else []
            if needed:
                message = f"class {owner.name} cannot be made without {', '.join(needed)}"
                self._mistakes.note(message, init, f"the worker calls {owner.name}(): give them defaults")


class _Parameters:
    """The parameters of a method, without that of its own object."""

    def __init__(self, syntax: Function) -> None:
        args = syntax.args
        positional = [*args.posonlyargs, *args.args]
        skipped = (
            0
            if any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in syntax.decorator_list)
            else 1
        )
        defaulted = len(args.defaults)
        self.positional = [one.arg for one in positional[skipped:]]
        self.positional_only = {one.arg for one in args.posonlyargs}
        keywords = {one.arg: default for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)}
        required = [one.arg for one in positional[: len(positional) - defaulted][skipped:]]
        self.required = required + [name for name, default in keywords.items() if default is None]
        self.keywords = {*keywords, *self.positional} - self.positional_only
        self.takes_any = args.vararg is not None
        self.takes_any_keyword = args.kwarg is not None


def check_arguments(
    mistakes: Mistakes, agent: Agent, args: Sequence[object], kwargs: Collection[str], place: Place
) -> None:
    """Note arguments that the agent's method would not take, as Python would say when it runs."""
    ours = ("staticmethod", "classmethod")
    for decorator in agent.syntax.decorator_list:
        known = isinstance(decorator, ast.Name) and decorator.id in ours
        if not known and decorator.lineno != agent.line:
            return  # It may take other arguments than its text says.
    takes = _Parameters(agent.syntax)
    found: list[str] = []
    if len(args) > len(takes.positional) and not takes.takes_any:
        found.append(f"takes {len(takes.positional)} positional arguments, found {len(args)}")
    by_position = takes.positional[: len(args)]
    found += [
        f"misses the argument {name!r}" for name in takes.required if name not in {*by_position, *kwargs}
    ]
    for name in kwargs:
        if name in by_position:
            found.append(f"gets the argument {name!r} twice")
        elif name not in takes.keywords and not takes.takes_any_keyword:
            found.append(f"takes no argument {name!r}")
    for mistake in found:
        hint = f"it is {agent.method}({ast.unparse(agent.syntax.args)})"
        mistakes.note(f"{agent.method}() {mistake}", place, hint)
