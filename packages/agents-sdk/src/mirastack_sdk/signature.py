"""From a function's type hints to an action's schema, and from a call's parameters to its arguments.

Every problem of a signature, and every problem of a call, is reported at once.

Source: plugin protocol, section 6 (parameter types) and section 13 (parameters are text on the callback
link).
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from headway_wire.errors import Broken, Invalid, Problem, Unavailable

from mirastack_sdk import docstrings
from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse, TimeRange
from mirastack_sdk.context import EngineContext
from mirastack_sdk.declarations import ParamSchema
from mirastack_sdk.jsontypes import (
    JsonType,
    described_as,
    field_types,
    plain_json,
    read_hint,
    type_name,
    why_not_json,
)

__all__ = ["Signature", "read_signature"]

_UNSTATED = inspect.Parameter.empty
_TIME_RANGE_WORDS = frozenset({"start", "end"})
"""Parameters that the engine turns into a time range; an action that takes the range may ignore them."""


@dataclass(frozen=True)
class TypedParam:
    """One parameter of a typed action: how callers see it, and the type its values are converted to."""

    schema: ParamSchema
    type: JsonType


@dataclass(frozen=True)
class Signature:
    """What a typed action takes and returns.

    `supplied` names the parameters that the SDK fills itself, and with what; callers never see them.
    """

    name: str
    params: Mapping[str, TypedParam]
    supplied: Mapping[str, Callable[[ExecuteRequest], object]]
    returns: Any

    @property
    def input_params(self) -> list[ParamSchema]:
        """The parameters as callers see them."""
        return [param.schema for param in self.params.values()]

    @property
    def output_params(self) -> list[ParamSchema]:
        """The fields of the result, when it is an object with known fields."""
        if self.returns in (_UNSTATED, ExecuteResponse):
            return []
        return [
            ParamSchema(name, kind.name, required, enum=kind.choices)
            for name, required, kind in field_types(self.returns)
        ]

    def arguments(self, req: ExecuteRequest) -> dict[str, object]:
        """The function's keyword arguments for `req`.

        Raises: Invalid with every parameter that is missing, unknown or of the wrong type; Unavailable when
        the function needs the engine and there is none.
        """
        given = dict(req.params if req.values is None else req.values)
        given.pop("action", None)
        arguments: dict[str, object] = {}
        problems = self._unknown(given)
        for name, param in self.params.items():
            if name in given:
                try:
                    arguments[name] = param.type.convert(given[name], as_text=req.values is None)
                except (msgspec.ValidationError, msgspec.DecodeError) as error:
                    problems.append(Problem(str(error), where=name, hint=_wanted(param)))
            elif param.schema.required:
                problems.append(Problem("missing", where=name, hint=_wanted(param)))
        for name, supply in self.supplied.items():
            try:
                arguments[name] = supply(req)
            except Invalid as error:
                problems.append(Problem(error.message, where=name))
        if problems:
            count = "1 parameter is" if len(problems) == 1 else f"{len(problems)} parameters are"
            raise Invalid(f"{self.name} was not run: {count} wrong", code="invalid_params", problems=problems)
        return arguments

    def _unknown(self, given: Mapping[str, object]) -> list[Problem]:
        takes_range = not {_time_range, _optional_time_range}.isdisjoint(self.supplied.values())
        ignored = _TIME_RANGE_WORDS if takes_range else frozenset[str]()
        problems = []
        for name in given.keys() - self.params.keys() - ignored:
            close = difflib.get_close_matches(name, self.params, n=1)
            known = ", ".join(self.params) or "none"
            hint = f"did you mean {close[0]}?" if close else f"{self.name} takes: {known}"
            problems.append(Problem("not a parameter of this action", where=name, hint=hint))
        return sorted(problems, key=lambda problem: problem.where)

    def checked(self, result: object) -> object:
        """`result` as plain JSON values, after a check against the return annotation.

        Raises: Broken when the function returned something else than it promised.
        """
        if isinstance(result, ExecuteResponse):
            return result
        try:
            plain = plain_json(result)
            if self.returns is not _UNSTATED:
                msgspec.convert(plain, self.returns, str_keys=True)
        except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
            promised = "JSON" if self.returns is _UNSTATED else type_name(self.returns)
            raise Broken(
                f"{self.name} returned something else than it promises",
                code="invalid_result",
                problems=[Problem(str(error), where="result", hint=f"the function promises {promised}")],
            ) from error
        return plain


def read_signature(function: Callable[..., object], *, name: str) -> Signature:
    """The signature of a function or bound method as that of action `name`.

    Raises: Invalid with everything that keeps it from being an action.
    """
    docs = docstrings.parameter_docs(function)
    try:
        hints = typing.get_type_hints(getattr(function, "__func__", function), include_extras=True)
    except NameError as error:
        raise _unusable(
            name,
            [Problem(str(error), hint="type hints must name things that exist where the module is imported")],
        ) from error
    params: dict[str, TypedParam] = {}
    supplied: dict[str, Callable[[ExecuteRequest], object]] = {}
    problems: list[Problem] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, _UNSTATED)
        problem = _parameter_problem(parameter, hint)
        if problem:
            problems.append(Problem(problem, where=parameter.name))
        elif supply := _supplies(hint):
            supplied[parameter.name] = supply
        else:
            params[parameter.name] = _typed_param(parameter, hint, docs.get(parameter.name, ""))
    returns = hints.get("return", _UNSTATED)
    if returns not in (_UNSTATED, ExecuteResponse) and (problem := why_not_json(returns)):
        problems.append(Problem(problem, where="return"))
    if problems:
        raise _unusable(name, problems)
    return Signature(name, types.MappingProxyType(params), types.MappingProxyType(supplied), returns)


def _unusable(name: str, problems: list[Problem]) -> Invalid:
    return Invalid(f"{name} cannot become an action", code="invalid_action", problems=problems)


def _parameter_problem(parameter: inspect.Parameter, hint: Any) -> str:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return "an action takes named parameters only; replace * and ** by parameters of their own"
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return "an action takes named parameters only; remove the '/'"
    if parameter.name == "action":
        return "the protocol uses this name for the action itself; choose another"
    if hint is _UNSTATED:
        return "has no type hint, and the schema is derived from it"
    return "" if _supplies(hint) else why_not_json(hint)


def _typed_param(parameter: inspect.Parameter, hint: Any, doc: str) -> TypedParam:
    kind = read_hint(hint)
    required = parameter.default is _UNSTATED
    default = None if required else plain_json(parameter.default)
    schema = ParamSchema(
        parameter.name, kind.name, required, described_as(hint) or doc, default=default, enum=kind.choices
    )
    return TypedParam(schema, kind)


def _wanted(param: TypedParam) -> str:
    """What a caller should send, in a few words."""
    if param.schema.enum:
        return "one of " + ", ".join(map(str, param.schema.enum))
    return (
        f"{param.schema.type}: {param.schema.description}" if param.schema.description else param.schema.type
    )


def _supplies(hint: Any) -> Callable[[ExecuteRequest], object] | None:
    """How the SDK fills a parameter of this type itself, or None when callers send it."""
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    members = set(typing.get_args(hint)) if is_union else {hint}
    optional = type(None) in members
    members.discard(type(None))
    if len(members) != 1:
        return None
    (kind,) = members
    if kind is ExecuteRequest:
        return _request
    if kind is TimeRange:
        return _optional_time_range if optional else _time_range
    if isinstance(kind, type) and issubclass(kind, EngineContext):
        return _optional_engine if optional else _engine
    return None


def _request(req: ExecuteRequest) -> ExecuteRequest:
    return req


def _optional_time_range(req: ExecuteRequest) -> TimeRange | None:
    return req.time_range


def _time_range(req: ExecuteRequest) -> TimeRange:
    if req.time_range is None:
        raise Invalid('this action needs a time range; give one, for example "last 30 minutes"')
    return req.time_range


def _optional_engine(req: ExecuteRequest) -> EngineContext | None:
    return req.engine_client


def _engine(req: ExecuteRequest) -> EngineContext:
    if req.engine_client is None:
        raise Unavailable(
            "this action needs the engine, and the agent serves without one; set MIRASTACK_ENGINE_ADDR",
            code="no_engine",
        )
    return req.engine_client
