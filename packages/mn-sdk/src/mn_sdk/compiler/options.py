"""Options of decorators, and what an agent's say in its node of the manifest.

Source: bundle contract, sections 13.1 and 13.3.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from headway_wire.manifest.processes import as_variable

from mn_sdk.compiler.constants import Constants, Unusable
from mn_sdk.compiler.mistakes import Mistakes, Place, shown
from mn_sdk.compiler.plain import Json, NotPlain, plain
from mn_sdk.policies import RUNNERS
from mn_sdk.workflow import Input

FOLDER = "mn_python_workflow"
"""The folder below ``payloads/`` that holds the worker and the sources."""

WORKER = "mn_worker.py"


# Reading ------------------------------------------------------------------------------------------


def names_of(defn: Callable[..., object]) -> tuple[str, ...]:
    """The options that a decorator takes."""
    code = defn.__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return names


def mark_of(module: object, path: str, mark: str) -> Mapping[str, Any]:
    """What a decorator has kept on ``Class.method``, or on a class, of a module that is imported."""
    value: object = module
    for name in path.split("."):
        value = getattr(value, name, None)
    kept = getattr(value, mark, None)
    return kept if isinstance(kept, dict) else {}


def read_options(
    mistakes: Mistakes,
    constants: Constants,
    decorator: ast.expr,
    what: str,
    defn: Callable[..., object],
    mark: Mapping[str, Any],
) -> dict[str, Json]:
    """The options that a decorator is given, as plain values; what is None is left out.

    mark: what the decorator has kept when the module is imported; it has the values that are computed there.
    """
    if not isinstance(decorator, ast.Call):
        mistakes.note(f"{what} is called", decorator, f"write @{what}(...)")
        return {}
    names = names_of(defn)
    given: list[tuple[str, ast.expr]] = []
    positional = defn.__code__.co_argcount
    for name, node in zip(names[:positional], decorator.args, strict=False):
        given.append((name, node))
    for node in decorator.args[positional:]:
        mistakes.note(f"{what}() takes {positional} positional arguments", node, "give options by name")
    found: dict[str, Json] = {}
    for keyword in decorator.keywords:
        if keyword.arg is None:
            given += _spread(mistakes, constants, keyword.value, what, mark, found)
        else:
            given.append((keyword.arg, keyword.value))
    for name, node in given:
        if name not in names:
            mistakes.note(f"{what}() has no option {name!r}", node, f"it has {', '.join(names)}")
            continue
        try:
            found[name] = _value(constants, name, node, what, mark)
        except Unusable as unusable:
            mistakes.note(unusable.message, node, unusable.hint)
    return {name: value for name, value in found.items() if value is not None}


def _spread(
    mistakes: Mistakes,
    constants: Constants,
    node: ast.expr,
    what: str,
    mark: Mapping[str, Any],
    found: dict[str, Json],
) -> list[tuple[str, ast.expr]]:
    """The options of ``**OPTIONS``; those of a map that stands there are returned as they are written."""
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return [(str(key.value), value) for key, value in pairs if isinstance(key, ast.Constant)]
    try:
        value = constants.evaluate(node)
    except Unusable as unusable:
        if not mark:
            hint = "write a map of literals, or the name of a constant that is one"
            mistakes.note(
                f"the options **{shown(node)} of {what}() must be plain", node, unusable.hint or hint
            )
        for name in mark:
            _keep(mistakes, found, name, mark[name], node, what)
        return []
    for name, item in value.items() if isinstance(value, dict) else ():
        found[name] = item
    return []


def _keep(
    mistakes: Mistakes, found: dict[str, Json], name: str, value: object, place: Place, what: str
) -> None:
    try:
        found[name] = plain(value)
    except NotPlain as problem:
        mistakes.note(f"option {name!r} of {what}() must be plain: {problem}", place)


def _value(constants: Constants, name: str, node: ast.expr, what: str, mark: Mapping[str, Any]) -> Json:
    try:
        value = constants.evaluate(node)
        if not isinstance(value, Input):
            return value
        raise Unusable("", node, "an input can be passed to agents, nowhere else")
    except Unusable as unusable:
        message = f"option {name!r} of {what}() must be plain, found {shown(node)}"
        if name not in mark:
            raise Unusable(message, node, unusable.hint or unusable.message) from unusable
        try:
            return plain(mark[name])
        except NotPlain as problem:
            raise Unusable(message, node, str(problem)) from problem


# Nodes --------------------------------------------------------------------------------------------

AS_THEY_ARE = (
    *("pool", "pool_slots", "backpressure", "pass_env", "policy", "timeout_seconds", "output_message_type"),
)
"""Options that stand in a node's config by the same name."""

OF_PROCESSES = ("runner", "env", "pass_env", "uploads", "policy")
"""Options that say how a process runs, and nothing where an action is the work."""

LISTS = ("services", "requires_services")

SECTIONS = ("resources", *LISTS)
"""Options that stand in the node itself."""


class NodeMaker:
    """Makes nodes of agents, and notes options that make none."""

    def __init__(self, mistakes: Mistakes, module: str, common: Mapping[str, str]) -> None:
        self._mistakes = mistakes
        self._module = module
        self._common = common

    def node(
        self,
        id: str,
        owner: str,
        method: str,
        options: Mapping[str, Json],
        line: int,
        *,
        root: bool,
        ends: tuple[bool, bool],
    ) -> dict[str, Json]:
        """The node of an agent.  ends: whether its result is the last one, and completes the job."""
        node: dict[str, Json] = {
            "node_id": id,
            "agent_type": "executor",
            "type": options.get("type", "generic"),
        }
        role = "root_coordinator" if root else options.get("role")
        if role is not None:
            node["role"] = role
        for name in SECTIONS:
            if name in options:
                value = options[name]
                node[name] = [value] if name in LISTS and isinstance(value, dict) else value
        config = {name: options[name] for name in AS_THEY_ARE if name in options}
        config |= self._retries(id, options, line)
        if "uses_action" in options:
            action = config["uses_action"] = options["uses_action"]
            if not isinstance(action, str) or not all(action.rpartition(".")[::2]):
                message = f"option 'uses_action' of agent {id!r} must be text, found {action!r}"
                self._mistakes.note(message, line, 'write uses_action="plugin.action"')
            for name in OF_PROCESSES:
                if name in options:
                    message = f"agent {id!r} uses an action: option {name!r} says nothing about it"
                    self._mistakes.note(
                        message, line, "leave it out; the plugin of the action has its own settings"
                    )
        else:
            config |= self._process(id, owner, method, options, line, ends)
        raw = options.get("raw_config", {})
        if not isinstance(raw, dict):
            self._mistakes.note(f"option 'raw_config' of agent {id!r} must be a map, found {raw!r}", line)
            raw = {}
        node["config"] = merged(config, raw)
        return node

    def _process(
        self,
        id: str,
        owner: str,
        method: str,
        options: Mapping[str, Json],
        line: int,
        ends: tuple[bool, bool],
    ) -> dict[str, Json]:
        env = options.get("env", {})
        if not isinstance(env, dict):
            self._mistakes.note(f"option 'env' of agent {id!r} must be a map, found {env!r}", line)
            env = {}
        last, completes = ends
        config: dict[str, Json] = {
            "name_prefix": f"py-{id}",
            "workdir": f"/sandbox/job/{FOLDER}",
            "command": ["python3.11", WORKER],
            "output_message_type": options.get("output_message_type"),
            "environment": {
                **self._common,
                **{name: as_variable(value) for name, value in env.items()},
                "MN_PY_SOURCE_MODULE": self._module,
                "MN_PY_OWNER_CLASS": owner,
                "MN_PY_METHOD": method,
                "MN_PY_OUTPUT_TYPE": f"{id}_result",
                "MN_PY_FINAL": "1" if last else "0",
                "MN_PY_COMPLETE_FINAL": "1" if completes else "0",
            },
        }
        return config | self._uploads(id, options, line) | self._runner(id, options, line)

    def _uploads(self, id: str, options: Mapping[str, Json], line: int) -> dict[str, Json]:
        """What is staged: the workflow itself, and what the author adds."""
        own = {"source": FOLDER, "target": FOLDER}
        uploads = options.get("uploads")
        if uploads is None:
            return {"upload_path": FOLDER, "upload_as": FOLDER}
        if not isinstance(uploads, list) or not all(isinstance(item, dict) for item in uploads):
            message = f"option 'uploads' of agent {id!r} must be a list of maps, found {uploads!r}"
            self._mistakes.note(message, line, 'write uploads=[{"source": "data", "target": "data"}]')
            return {}
        there = any(str(item.get("source", "")).split("/")[0] == FOLDER for item in uploads)
        return {"upload_paths": [*uploads] if there else [own, *uploads]}

    def _runner(self, id: str, options: Mapping[str, Json], line: int) -> dict[str, Json]:
        runner = options.get("runner", "host_local")
        settings = dict(runner) if isinstance(runner, dict) else {"kind": runner}
        kind = settings.pop("kind", None)
        if not isinstance(kind, str) or kind not in RUNNERS:
            found = kind if isinstance(kind, str) else runner
            self._mistakes.note(f"unsupported runner {found!r}", line, f"there are {', '.join(RUNNERS)}")
            return {}
        if isinstance(settings.get("policy"), str) and "policy" in options:
            settings["policy"] = options["policy"]
        return {"runner_module": RUNNERS[kind], **settings}

    def _retries(self, id: str, options: Mapping[str, Json], line: int) -> dict[str, Json]:
        retries = options.get("retries")
        if retries is None:
            return {}
        names = {"max_attempts": "max_attempts", "backoff_ms": "retry_backoff_ms"}
        hint = "write RetryPolicy(max_attempts=2, backoff_ms=250), or a map with these keys"
        if not isinstance(retries, dict):
            self._mistakes.note(
                f"option 'retries' of agent {id!r} must be a map, found {retries!r}", line, hint
            )
            return {}
        for key in retries.keys() - names.keys():
            self._mistakes.note(f"option 'retries' of agent {id!r} has no key {key!r}", line, hint)
        return {names[key]: value for key, value in retries.items() if key in names}


def merged(base: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    """`over` on top of `base`, maps within maps key by key."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result
