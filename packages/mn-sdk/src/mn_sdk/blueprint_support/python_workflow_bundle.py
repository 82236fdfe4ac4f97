"""Reading a blueprint's manifest, and compiling the workflow that it names.

Source: bundle contract, section 14.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from headway_wire.bundle import Bundle
from headway_wire.errors import Problem

from mn_sdk.compiler import (
    BundleCompileError,
    BundleOptions,
    build_bundle_from_source,
    compile_source,
    workflows_in,
)

Json = Any

MANIFEST_BYTES_MAX = 8 * 1024 * 1024

SIDECARS = ("config/default.json", "config/overwrite.json", "scenario.json", "requirements.txt")
"""Files that are copied beside the bundle's manifest."""

PASSED_ON = (
    *("requirements", "input_validation", "services", "required_services", "deployment", "update_policy"),
    *("schedule", "triggers", "parameterized", "policies"),
)
"""Keys of a blueprint's manifest that the bundle's takes over."""

OF_WORKFLOW = {
    "module": str,
    "class": str,
    "includes": list,
    "excludes": list,
    "initial_inputs": dict,
    "include_source_dir": bool,
    "type": str,
    "complete_on_final": bool,
    "status_message": str,
    "metadata": dict,
    "description": str,
}
"""What `metadata.python_workflow` may say."""

_WORDS = {str: "text", list: "a list", dict: "an object", bool: "true or false"}

QUICK_TEST = "MN_BLUEPRINT_QUICK_TEST"
"""The variable that asks for the quick test, of whoever compiles and of the agents."""


class Blueprint:
    """A blueprint folder.  Raises: BundleCompileError with everything that is wrong with its manifest.

    status_message: what is told while it is compiled, or "".
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._manifest = _manifest(self.folder)
        metadata = self._manifest.get("metadata")
        self._metadata: dict[str, Json] = metadata if isinstance(metadata, dict) else {}
        said: Json = self._metadata.get("python_workflow")
        problems = _problems(said)
        if problems:
            raise BundleCompileError(f"{self.folder / 'manifest.json'} names no workflow", problems)
        self._workflow: dict[str, Json] = said
        self.module: str = self._workflow.get("module") or "workflow"
        self.class_name: str = self._workflow["class"]
        self.status_message: str = self._workflow.get("status_message") or ""

    @property
    def file(self) -> Path:
        """The file of the workflow."""
        return self.folder / f"{self.module}.py"

    @property
    def id(self) -> str:
        """The blueprint's id."""
        for value in (
            self._metadata.get("blueprint_id"),
            self._manifest.get("id"),
            self._manifest.get("graph_id"),
        ):
            if isinstance(value, str) and value:
                return value
        return self.folder.resolve().name

    def options(self, *, quick_test: bool, initial_inputs: Mapping[str, Json] | None) -> BundleOptions:
        """What the compiler is told."""
        said = self._workflow
        options: dict[str, Json] = {key: self._manifest[key] for key in PASSED_ON if key in self._manifest}
        for key in ("includes", "excludes", "include_source_dir", "complete_on_final"):
            options |= {key: said[key]} if said.get(key) is not None else {}
        options["type"] = said.get("type") or self._manifest.get("type")
        options["description"] = said.get("description") or self._manifest.get("description")
        options["initial_inputs"] = {**(said.get("initial_inputs") or {}), **(initial_inputs or {})} or None
        options["blueprint_id"] = self.id
        options["metadata"] = {
            **self._metadata,
            **(said.get("metadata") or {}),
            "quick_test": {"enabled": quick_test},
        }
        if quick_test:
            options["environment"] = {QUICK_TEST: "1"}
        given = {key: value for key, value in options.items() if value is not None}
        return cast(BundleOptions, given)  # Values of a manifest, which the compiler checks.


def generate_bundle(
    blueprint_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    quick_test: bool = False,
    initial_inputs: Mapping[str, Json] | None = None,
) -> Path:
    """Compile a blueprint into a bundle folder; its path.

    quick_test: agents find MN_BLUEPRINT_QUICK_TEST=1 in their environment, and the bundle's metadata says so.
    initial_inputs: values for the workflow's inputs, over those of the blueprint.

    Raises: BundleCompileError with every mistake.
    """
    blueprint = Blueprint(blueprint_dir)
    if os.path.realpath(output_dir) == os.path.realpath(blueprint.folder):
        problem = "the bundle's manifest would replace that of the blueprint; give another output folder"
        raise BundleCompileError(f"cannot write the bundle into {output_dir}", [problem])
    options = blueprint.options(quick_test=quick_test, initial_inputs=initial_inputs)
    output = build_bundle_from_source(blueprint.file, blueprint.class_name, output_dir, **options)
    for name in SIDECARS:
        _copy(blueprint.folder, name, output)
    return output


def compile_blueprint(
    blueprint_dir: str | os.PathLike[str],
    *,
    quick_test: bool = False,
    initial_inputs: Mapping[str, Json] | None = None,
) -> Bundle:
    """Compile a blueprint into a bundle in memory.  Raises: BundleCompileError, as `generate_bundle`."""
    blueprint = Blueprint(blueprint_dir)
    options = blueprint.options(quick_test=quick_test, initial_inputs=initial_inputs)
    return compile_source(blueprint.file, blueprint.class_name, **options)


def compile_file(
    file: str | os.PathLike[str],
    *,
    quick_test: bool = False,
    initial_inputs: Mapping[str, Json] | None = None,
) -> Bundle:
    """Compile the one workflow in a Python file into a bundle in memory; quick_test as in `generate_bundle`.

    Raises: BundleCompileError with every mistake, and when there is no workflow or more than one.
    """
    names = workflows_in(file)
    if len(names) != 1:
        text = f"the file has the workflows {', '.join(names)}" if names else "no class has @workflow.defn"
        hint = "a file that runs by itself has one workflow; for more, make each a blueprint folder"
        problem = Problem(text, file=str(file), hint=hint)
        raise BundleCompileError("it is not clear which workflow is meant", [problem])
    options: BundleOptions = {"initial_inputs": initial_inputs}
    if quick_test:
        options["environment"] = {QUICK_TEST: "1"}
    return compile_source(file, names[0], **options)


def _manifest(folder: Path) -> dict[str, Json]:
    file = folder / "manifest.json"
    if not folder.is_dir():
        raise BundleCompileError(f"'{folder}' is not a directory. Expected a blueprint folder.")
    if not file.is_file():
        raise BundleCompileError(f"manifest.json not found in '{folder}'.")
    try:
        with open(file, "rb") as opened:
            content = opened.read(MANIFEST_BYTES_MAX + 1)
        if len(content) > MANIFEST_BYTES_MAX:
            raise BundleCompileError(f"manifest.json has more than {MANIFEST_BYTES_MAX} bytes in '{folder}'.")
        manifest = msgspec.json.decode(content)
    except OSError as error:
        raise BundleCompileError(f"manifest.json cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleCompileError(f"manifest.json is not valid JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise BundleCompileError("manifest.json must contain a JSON object.")
    return manifest


def _problems(said: Json) -> list[str]:
    """What is wrong with `metadata.python_workflow`."""
    where = "metadata.python_workflow"
    if not isinstance(said, dict):
        return [f'{where} must be an object with "class", the name of the workflow\'s class']
    problems = [] if said.get("class") else [f"{where}.class is required: the name of the workflow's class"]
    for key, value in said.items():
        kind = OF_WORKFLOW.get(key)
        if kind is not None and value is not None and not isinstance(value, kind):
            problems.append(f"{where}.{key} must be {_WORDS[kind]}, found {value!r}")
    module = said.get("module")
    if isinstance(module, str) and module and not module.isidentifier():
        problems.append(f"{where}.module must be the name of a file beside the manifest, found {module!r}")
    return problems


def _copy(folder: Path, name: str, output: Path) -> None:
    """Copy a file of the blueprint beside the bundle's manifest, if it is there and in the blueprint."""
    file = folder / name
    if not file.is_file():
        return
    if not os.path.realpath(file).startswith(os.path.realpath(folder) + os.sep):
        raise BundleCompileError(f"symlink leaves the folder: {file}")
    try:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, output / name)
    except OSError as error:
        raise BundleCompileError(f"{file} cannot be copied: {error.strerror}") from error
