"""Typed actions: a function with type hints and a docstring becomes an action of an agent.

    agent = Agent("host", version="1.0.0", description="Reads the machine it runs on", stages=["observe"])

    @agent.action(permission="READ")
    async def disk_usage(path: str = "/") -> DiskUsage:
        "How full a file system is.  Use this when a disk alert fires."

The schema comes from the hints, the description from the docstring's first paragraph; what callers send is
converted and what the function returns is checked.  A class works the same way: derive it from `Agent` and
mark its methods with this module's `action`.  Functions and methods may be sync; those run in a thread.

Parameters annotated `EngineContext`, `ExecuteRequest` or `TimeRange` are filled by the SDK and no part of the
schema.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from headway_wire.errors import Invalid, NotFound, Problem, Unavailable

from mirastack_sdk import docstrings
from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse
from mirastack_sdk.context import EngineContext
from mirastack_sdk.declarations import (
    Action,
    ConfigParam,
    IntentLike,
    IntentPattern,
    PluginInfo,
    PluginSchema,
    RoutingSemantics,
    as_intents,
    as_timeout_ms,
)
from mirastack_sdk.enums import (
    DevOpsStage,
    Permission,
    PermissionLike,
    StageLike,
    as_permission,
    as_stages,
)
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.prompts import load_prompt_templates
from mirastack_sdk.runtime.threads import call_author
from mirastack_sdk.signature import Signature, read_signature

__all__ = ["ActionOptions", "Agent", "action"]

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK = "__mirastack_action__"


@dataclass(frozen=True)
class _Mark:
    """What `action` was told about a function."""

    id: str
    permission: Permission
    stages: Sequence[DevOpsStage]
    description: str
    intents: Sequence[IntentPattern]
    idempotent: bool
    timeout_ms: int | None
    routing_semantics: RoutingSemantics | None


class _TypedAction:
    """One function of one agent, as an action.

    Its hints are read when first needed, so that they may name what the module defines later.
    """

    def __init__(self, function: Callable[..., object], mark: _Mark) -> None:
        self.function = function
        self.mark = mark
        self.id = mark.id or function.__name__

    @cached_property
    def signature(self) -> Signature:
        """Raises: Invalid when the function cannot be an action."""
        return read_signature(self.function, name=self.id)

    def declaration(self, stages: Sequence[DevOpsStage]) -> Action:
        """The action as the engine learns it; `stages` are the agent's.  Raises: Invalid, as `signature`."""
        declared = Action(
            self.id,
            self.mark.description or docstrings.summary(self.function),
            self.mark.permission,
            self.mark.stages or stages or [_usual_stage(self.mark.permission)],
            self.mark.intents,
            self.signature.input_params,
            self.signature.output_params,
            self.mark.routing_semantics,
            idempotent=self.mark.idempotent,
        )
        declared.timeout_ms = self.mark.timeout_ms
        return declared

    async def run(self, req: ExecuteRequest) -> ExecuteResponse:
        """The function's answer to `req`.

        Raises: Invalid for wrong parameters, Broken for a wrong result, and whatever the function raises.
        """
        result = await call_author(self.function, **self.signature.arguments(req))
        checked = self.signature.checked(result)
        return checked if isinstance(checked, ExecuteResponse) else ExecuteResponse(output=checked)


class ActionOptions(TypedDict, total=False):
    """What may be said about an action beside its permission.

    `id` defaults to the function's name, `description` to the first paragraph of its docstring, `stages` to
    the agent's or, failing those, to observe for READ and operate for the rest.  `idempotent` says that a
    repeated call is harmless, so the engine may try again after a crash without asking a person.  Numbers for
    `timeout` are seconds.
    """

    id: str
    description: str
    stages: StageLike | Iterable[StageLike]
    intents: Iterable[IntentLike]
    idempotent: bool
    timeout: timedelta | float
    routing_semantics: RoutingSemantics


def _mark(permission: PermissionLike, options: ActionOptions) -> _Mark:
    return _Mark(
        id=options.get("id", ""),
        permission=as_permission(permission),
        stages=as_stages(options.get("stages")),
        description=options.get("description", ""),
        intents=as_intents(options.get("intents")),
        idempotent=options.get("idempotent", False),
        timeout_ms=as_timeout_ms(options.get("timeout")),
        routing_semantics=options.get("routing_semantics"),
    )


def action(*, permission: PermissionLike, **options: Unpack[ActionOptions]) -> Callable[[Function], Function]:
    """Mark a method, or a function that several agents share, as an action; it stays callable as it is.

    `permission` has no default: what an action may do is stated, never assumed.
    """
    mark = _mark(permission, options)

    def marked(function: Function) -> Function:
        setattr(function, _MARK, mark)
        return function

    return marked


class Agent(Plugin):
    """An agent made of typed actions.

    `description` defaults to the first paragraph of a derived class's docstring.  `config_params` are the
    settings operators may change; their values are in `config`.  Every `*.tmpl` file of `templates_folder`
    becomes a prompt template.  `actions` adds functions marked with `action`.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        description: str = "",
        stages: StageLike | Iterable[StageLike] | None = None,
        actions: Iterable[Callable[..., object]] = (),
        intents: Iterable[IntentLike] = (),
        config_params: Iterable[ConfigParam] = (),
        templates_folder: str | Path | None = None,
        template_descriptions: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.description = description or ("" if type(self) is Agent else docstrings.summary(type(self)))
        self.config_params = list(config_params)
        self.config = self._config_defaults()
        self._stages = as_stages(stages)
        self._intents = as_intents(intents)
        self._templates_folder = templates_folder
        self._template_descriptions = dict(template_descriptions or {})
        self._metadata = dict(metadata or {})
        self._check_health: Callable[[], object] | None = None
        self._take_config: Callable[[dict[str, str]], object] | None = None
        self._typed_actions: list[_TypedAction] = []
        for function in (*_marked_methods(self), *actions):
            mark = getattr(function, _MARK, None)
            if not isinstance(mark, _Mark):
                raise TypeError(f"{function!r} is no action; decorate it with @action(permission=...)")
            self._typed_actions.append(_TypedAction(function, mark))

    def action(
        self, *, permission: PermissionLike, **options: Unpack[ActionOptions]
    ) -> Callable[[Function], Function]:
        """Make a function, or a bound method, an action of this agent; it stays callable as it is.

        `permission` has no default: what an action may do is stated, never assumed.
        """
        mark = _mark(permission, options)

        def added(function: Function) -> Function:
            self._typed_actions.append(_TypedAction(function, mark))
            return function

        return added

    def on_health_check(self, function: Function) -> Function:
        """Use `function` as the health check: it raises when the agent cannot do its work."""
        self._check_health = function
        return function

    def on_config(self, function: Function) -> Function:
        """Call `function` with all settings whenever one changes, after `config` has taken them over."""
        self._take_config = function
        return function

    @property
    def engine(self) -> EngineContext:
        """The handle to the engine.  Raises: Unavailable while the agent serves without one."""
        if self._engine_context is None:
            raise Unavailable(
                f"{self.name} serves without an engine; set MIRASTACK_ENGINE_ADDR to reach one",
                code="no_engine",
            )
        return self._engine_context

    def _config_defaults(self) -> dict[str, str]:
        return {param.key: param.default for param in self.config_params if param.default}

    def info(self) -> PluginInfo:
        """Who this agent is and what it brings.  Raises: Invalid when a function cannot be an action."""
        folder = self._templates_folder
        templates = load_prompt_templates(folder, self._template_descriptions) if folder else []
        return PluginInfo(
            self.name,
            self.version,
            self.description,
            _strictest_first(typed.mark.permission for typed in self._typed_actions),
            self._stages,
            self._intents,
            self._declared_actions(),
            templates,
            self.config_params,
            metadata=self._metadata,
        )

    def schema(self) -> PluginSchema:
        """The actions and their parameters."""
        return PluginSchema(actions=self._declared_actions())

    def _declared_actions(self) -> list[Action]:
        """Raises: Invalid with everything that keeps functions from being actions."""
        declared: list[Action] = []
        problems: list[Problem] = []
        for typed in self._typed_actions:
            try:
                declared.append(typed.declaration(self._stages))
            except Invalid as error:
                problems += [
                    dataclasses.replace(problem, where=f"{typed.id}({problem.where})")
                    for problem in error.problems
                ]
        if problems:
            raise Invalid(f"{self.name} cannot be described", code="invalid_action", problems=problems)
        return declared

    async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
        """Run the action that `req` names.

        Raises: NotFound for an unknown action, Invalid with every wrong parameter, Broken for a result that
        is not what the function promises, and whatever the function raises.
        """
        for typed in self._typed_actions:
            if typed.id == req.action_id:
                return await typed.run(req)
        known = [typed.id for typed in self._typed_actions]
        close = difflib.get_close_matches(req.action_id, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it offers: {', '.join(known) or 'none'}"
        raise NotFound(f"{self.name} has no action {req.action_id!r}; {hint}", code="unknown_action")

    async def health_check(self) -> None:
        """Ask the function given to `on_health_check`, if any."""
        if self._check_health is not None:
            await call_author(self._check_health)

    async def config_updated(self, config: dict[str, str]) -> None:
        """Take over changed settings, then tell the function given to `on_config`."""
        self.config.clear()
        self.config.update(self._config_defaults() | config)
        if self._take_config is not None:
            await call_author(self._take_config, config)


def _usual_stage(permission: Permission) -> DevOpsStage:
    """The stage of an action whose author names none: looking is observing, changing is operating."""
    return DevOpsStage.OBSERVE if permission is Permission.READ else DevOpsStage.OPERATE


def _marked_methods(agent: Agent) -> list[Callable[..., object]]:
    """The methods of an agent's class that are marked as actions, in the order they are written."""
    names = dict.fromkeys(name for cls in reversed(type(agent).__mro__) for name in vars(cls))
    candidates = (inspect.getattr_static(agent, name) for name in names)
    return [
        getattr(agent, name)
        for name, member in zip(names, candidates, strict=True)
        if isinstance(getattr(member, _MARK, None), _Mark)
    ]


def _strictest_first(permissions: Iterable[Permission]) -> list[Permission]:
    order = (Permission.ADMIN, Permission.MODIFY, Permission.WRITE, Permission.READ)
    return sorted(set(permissions), key=order.index)
