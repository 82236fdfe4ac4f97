"""Reading the configuration of nodes that start processes.  Source: bundle contract, sections 3.1 and 11."""

from __future__ import annotations

import json

from headway_wire.manifest.fields import (
    Spot,
    Table,
    Wrong,
    duration,
    flag,
    name,
    names,
    seconds,
    text,
    whole,
)
from headway_wire.manifest.form import HOST_LOCAL, Beacon, Executor, Upload
from headway_wire.manifest.paths import path_problem
from headway_wire.manifest.terms import Json

UPLOADS_MAX = 1_000
SLOTS_MAX = 1_000_000
ACTION_CHARACTERS_MAX = 300
ENVIRONMENT_CHARACTERS_MAX = 131_072
"""Of one variable: the most that Linux hands to a process."""


def read_process(spot: Spot, config: dict[str, Json], *, node: str) -> Executor:
    """The work of the executor `node`; `spot` is that of its `config`."""
    given = spot.take(config, _EXECUTOR)
    beacon = spot.take(config, _BEACON)
    if beacon:
        given["beacon"] = Beacon(**beacon, timeout_set="timeout_ms" in beacon)
    uploads = _uploads(spot, config, node=node)
    if uploads:
        given["uploads"] = uploads
    work = Executor(**given)
    if work.runner == HOST_LOCAL and not work.uses_action and config.get("command") is None:
        help = 'an array such as ["python3", "worker.py"], or uses_action'
        spot.note("missing_key", f"node {node}: config.command is required", "command", help=help)
    return work


def _uploads(spot: Spot, config: dict[str, Json], *, node: str) -> tuple[Upload, ...]:
    uploads: list[Upload] = []
    if config.get("upload_path") is not None:
        pair = {"source": config["upload_path"], "target": config.get("upload_as")}
        uploads += _upload(spot, pair, {"source": "upload_path", "target": "upload_as"}, node=node)
    for place, item in spot.objects(config, "upload_paths", most=UPLOADS_MAX):
        uploads += _upload(place, item, {"source": "source", "target": "target"}, node=node)
    return tuple(uploads)


def _upload(spot: Spot, pair: dict[str, Json], keys: dict[str, str], *, node: str) -> list[Upload]:
    source, target = pair.get("source"), pair.get("target")
    paths = {"source": source}
    if target is not None:
        paths["target"] = target
    sound: dict[str, str] = {}
    for part, value in paths.items():
        path = value.removeprefix("./").rstrip("/") if isinstance(value, str) else value
        if problem := path_problem(path):
            message = f"node {node}: upload {part} must {problem}"
            spot.note("wrong_value", message, keys[part], actual=value)
        elif isinstance(path, str):
            sound[part] = path
    if len(sound) < len(paths):
        return []
    return [Upload(sound["source"], sound.get("target") or sound["source"].rpartition("/")[2])]


def _command(value: Json) -> tuple[str, ...] | str:
    if isinstance(value, str) and value.strip() and "\x00" not in value:
        return value
    listed = isinstance(value, list | tuple) and bool(value) and bool(value[0])
    if listed and all(isinstance(item, str) and "\x00" not in item for item in value):
        return tuple(value)
    raise Wrong("an array of texts, the program first, or text for a shell")


def _environment(value: Json) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Wrong("an object of variables")
    variables = {key: as_variable(item) for key, item in value.items()}
    for key, item in variables.items():
        if not key or "=" in key or "\x00" in key or "\x00" in item:
            raise Wrong('an object of variables, without NUL anywhere or "=" in a name')
        if len(item) > ENVIRONMENT_CHARACTERS_MAX:
            raise Wrong(f"an object of variables with at most {ENVIRONMENT_CHARACTERS_MAX} characters each")
    return variables


def as_variable(value: Json) -> str:
    """A value as the text of an environment variable: texts as they are, null as nothing, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _action(value: Json) -> str:
    """``plugin.action``.  Names that begin with @ are the engine's own: no bundle may call them."""
    if isinstance(value, str) and len(value) <= ACTION_CHARACTERS_MAX and not value.startswith("@"):
        plugin, _, action = value.partition(".")
        if plugin.strip() and action.strip():
            return value
    raise Wrong('"plugin.action"')


_EXECUTOR: Table = {
    "runner_module": ("runner", name),
    "command": ("command", _command),
    "uses_action": ("uses_action", _action),
    "workdir": ("workdir", text),
    "environment": ("environment", _environment),
    "pass_env": ("pass_env", names),
    "timeout_seconds": ("timeout_ms", seconds(positive=False)),
    "max_attempts": ("max_attempts", whole(1, 10_000)),
    "retry_backoff_ms": ("retry_backoff_ms", duration),
    "failure_message_type": ("failure_message_type", text),
    "pool": ("pool", name),
    "pool_slots": ("pool_slots", whole(1, SLOTS_MAX)),
    "lease_queue_timeout_ms": ("lease_queue_timeout_ms", duration),
    "lease_max_queue_length": ("lease_queue_length_max", whole()),
    "startup_delay_ms": ("startup_delay_ms", duration),
    "workflow_complete_step": ("complete_step", flag),
    "max_output_bytes": ("max_output_bytes", whole(0, 1 << 30)),
    "idempotent": ("idempotent", flag),
    "safe_to_retry": ("safe_to_retry", flag),
}
_BEACON: Table = {
    "beacon_enabled": ("enabled", flag),
    "beacon_interval_ms": ("interval_ms", whole(1)),
    "beacon_timeout_ms": ("timeout_ms", whole(1)),
    "agent_beacon_required": ("required", flag),
    "agent_beacon_stdout_prefix": ("prefix", name),
    "beacon_missed_action": ("missed_action", name),
}
