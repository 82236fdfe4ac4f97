"""What is submitted: a manifest file, a bundle folder, or a workflow in Python, compiled here first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headway_wire.bundle import deep_merge, parse_manifest, read_bundle, read_config
from headway_wire.errors import Invalid, NotFound, Problem

CONFIG_VARIABLE = "MN_BLUEPRINT_CONFIG_JSON"
"""Where agents and checks find the blueprint's configuration.  Source: bundle contract, section 9."""

_REFERENCE = re.compile(r"\$\{config\.([A-Za-z0-9_.-]+)\}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest and its payloads, and the configuration beside them.  path: what was named."""

    path: Path
    manifest_json: str
    payloads: Mapping[str, bytes]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as an object."""
        return parse_manifest(self.manifest_json)

    @property
    def is_service(self) -> bool:
        """Whether its job goes on until someone ends it."""
        return self.manifest.get("type") == "service"


def read(path: Path, inputs: Mapping[str, Any] | None = None, *, quick_test: bool = False) -> Bundle:
    """The bundle at `path`, with `inputs` in the place of its defaults.

    quick_test: a blueprint in Python is compiled for a quick test.

    Raises Invalid with everything that is wrong with it, NotFound when there is nothing.
    """
    if not path.exists():
        expected = "a manifest file, a bundle folder, a blueprint folder or a workflow in Python"
        text = f"'{path}' does not exist. Expected {expected}."
        raise NotFound(text, code="no_bundle")
    if is_source(path):
        return compiled(path, inputs or {}, quick_test=quick_test)
    found = read_bundle(path)
    folder = path if path.is_dir() else path.parent
    bundle = Bundle(path, found.manifest_json, found.payloads, read_config(folder))
    return given(bundle, inputs) if inputs else bundle


def is_source(path: Path) -> bool:
    """Whether `path` is a Python file, or a folder whose manifest names a workflow there and no nodes."""
    if path.suffix == ".py" and path.is_file():
        return True
    if not (path / "manifest.json").is_file():
        return False
    try:
        manifest = parse_manifest((path / "manifest.json").read_bytes())
    except Invalid:
        return False  # Whoever reads it says what is wrong with it.
    metadata = manifest.get("metadata")
    named = isinstance(metadata, dict) and isinstance(metadata.get("python_workflow"), dict)
    return named and not (manifest.get("nodes") or manifest.get("agents") or manifest.get("flow"))


def compiled(path: Path, inputs: Mapping[str, Any], *, quick_test: bool = False) -> Bundle:
    """The bundle that a workflow in Python compiles to; its code is not executed.

    Raises Invalid with every mistake in its source.
    """
    # Bundles that are finished need no compiler.
    from mn_sdk.blueprint_support import compile_blueprint, compile_file

    compile = compile_blueprint if path.is_dir() else compile_file
    found = compile(path, quick_test=quick_test, initial_inputs=inputs)
    folder = path if path.is_dir() else path.parent
    return Bundle(path, found.manifest_json, found.payloads, read_config(folder))


def given(bundle: Bundle, inputs: Mapping[str, Any]) -> Bundle:
    """A finished bundle with other inputs: of its dataflow by name, of other bundles by entrypoint.

    Raises Invalid with every name that is none of them.
    """
    manifest = bundle.manifest
    dataflow = manifest.get("dataflow")
    if isinstance(dataflow, dict):
        known = dict(dataflow.get("inputs") or {})
        _only(inputs, known, "the workflow has no such input")
        changed = {**manifest, "dataflow": {**dataflow, "inputs": {**known, **inputs}}}
    else:
        runtime = manifest.get("runtime") or {}
        known = dict(manifest.get("initial_inputs") or runtime.get("initial_inputs") or {})
        entrypoints = manifest.get("entrypoints") or (manifest.get("agents") or {}).get("entrypoints") or []
        fixed = (manifest.get("metadata") or {}).get("python_inputs")
        why = "its inputs were fixed when it was compiled" if fixed else "no entrypoint has that name"
        _only(inputs, {**known, **dict.fromkeys(entrypoints)}, why)
        seeds = {name: value if isinstance(value, list) else [value] for name, value in inputs.items()}
        changed = {**manifest, "initial_inputs": {**known, **seeds}}
    return replace(bundle, manifest_json=json.dumps(changed))


def configured(bundle: Bundle, over: Mapping[str, Any]) -> Bundle:
    """The bundle with its configuration, and `over` laid on that, where its agents look for it.

    Source: bundle contract, section 9: each node's environment, in MN_BLUEPRINT_CONFIG_JSON.
    """
    config = deep_merge(bundle.config, over)
    if not config:
        return bundle
    manifest, text = bundle.manifest, json.dumps(config)
    for node in nodes_of(manifest):
        environment = node.setdefault("config", {}).setdefault("environment", {})
        environment[CONFIG_VARIABLE] = text
    return replace(bundle, manifest_json=json.dumps(manifest), config=config)


def nodes_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a manifest of any shape, wherever it has them."""
    places = (manifest, manifest.get("agents"), manifest.get("flow"))
    found = [node for place in places if isinstance(place, dict) for node in place.get("nodes") or []]
    return [node for node in found if isinstance(node, dict)]


def required_services(bundle: Bundle) -> list[dict[str, Any]]:
    """The services that a bundle requires, its configuration filled in."""
    manifest = bundle.manifest
    wanted = list(manifest.get("required_services") or [])
    for node in nodes_of(manifest):
        wanted += [one for one in node.get("requires_services") or [] if one not in wanted]
    return [_filled(one, bundle.config) for one in wanted]


def _filled(value: Any, config: Mapping[str, Any]) -> Any:
    """A value with each ${config.a.b} in its texts replaced; what the configuration does not have stays."""
    match value:
        case dict():
            return {name: _filled(each, config) for name, each in value.items()}
        case list():
            return [_filled(each, config) for each in value]
        case str():
            return _REFERENCE.sub(lambda found: _looked_up(found, config), value)
        case _:
            return value


def _looked_up(found: re.Match[str], config: Mapping[str, Any]) -> str:
    value: Any = config
    for part in found[1].split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return found[0] if value is None or isinstance(value, dict | list) else str(value)


def _only(inputs: Iterable[str], known: Mapping[str, Any], why: str) -> None:
    hint = f"there are: {', '.join(sorted(known)) or 'none'}"
    problems = [Problem(why, f"--input {name}", hint=hint) for name in inputs if name not in known]
    if problems:
        raise Invalid("not every input can be given", code="unknown_input", problems=problems)
