"""`build_bundle`: from a workflow's class, or its file, to a folder that can be submitted.

Source: bundle contract, sections 13.3 and 13.4.
"""

from __future__ import annotations

import ast
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, TypedDict, Unpack

import msgspec
from headway_wire.bundle import Bundle
from headway_wire.manifest import findings

from mn_sdk import workflow as workflow_module
from mn_sdk.compiler.agents import Agents
from mn_sdk.compiler.constants import Constants
from mn_sdk.compiler.expressions import Expressions
from mn_sdk.compiler.manifest import manifest_of, moment
from mn_sdk.compiler.mistakes import BundleCompileError, Mistakes
from mn_sdk.compiler.options import NodeMaker, mark_of, read_options
from mn_sdk.compiler.packaging import Packer, write
from mn_sdk.compiler.plain import Json, NotPlain, plain
from mn_sdk.compiler.program import Program, Reader
from mn_sdk.compiler.source import Source

DECORATOR = "workflow.defn"


class BundleOptions(TypedDict, total=False):
    """What a build may be told.  Options of `workflow.defn` win over those of the decorator here.

    initial_inputs: values of the workflow's inputs by name, or bodies for its first agent by its id.
    include_source_dir: whether the Python files beside the workflow are packaged, which is the default.
    includes, excludes: more of what the decorator has.  complete_on_final: whether the last result completes
    the job; the default is yes, and no for a service.  environment: variables for every agent.
    generated_at: the moment that the bundle says it was made, in ISO 8601, else that of SOURCE_DATE_EPOCH,
    else now.
    """

    type: str | None
    stream_mode: str | None
    recovery_mode: str | None
    backpressure: Any
    blueprint_id: str | None
    description: str | None
    requirements: Mapping[str, Json] | None
    input_validation: Mapping[str, Json] | Sequence[Mapping[str, Json]] | None
    services: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None
    required_services: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None
    deployment: Mapping[str, Json] | None
    update_policy: Mapping[str, Json] | None
    schedule: Mapping[str, Json] | None
    triggers: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None
    parameterized: Mapping[str, Json] | None
    policies: Mapping[str, Json] | None
    initial_inputs: Mapping[str, Json] | None
    include_source_dir: bool
    includes: Sequence[str | os.PathLike[str]] | None
    excludes: Sequence[str] | None
    metadata: Mapping[str, Json] | None
    environment: Mapping[str, str] | None
    complete_on_final: bool | None
    generated_at: str | None


def build_bundle(
    workflow_class: type[object], output_dir: str | os.PathLike[str], **options: Unpack[BundleOptions]
) -> Path:
    """Compile a decorated workflow into a bundle folder; its path.

    The file of the class is read, nothing in it is executed.  Where a decorator has a value that only the
    running module knows, it is taken from there.

    Raises: BundleCompileError with every mistake; then nothing has been written.
    """
    name = workflow_class.__qualname__
    file, module = _home(workflow_class)
    if not file.endswith(".py"):
        raise BundleCompileError(f"class {name} has no source file; write the workflow into a module")
    if "." in name:
        raise BundleCompileError(
            f"class {name} must be at the top of its module, where workers can import it"
        )
    output = Path(output_dir)
    _write(output, _compiled(Path(file).absolute(), name, module, output, options))
    return output


def _home(workflow_class: type[object]) -> tuple[str, object]:
    """(the file of a class or "", what has the names of its module as attributes)."""
    module = sys.modules.get(workflow_class.__module__)
    if module is not None:
        return str(getattr(module, "__file__", None) or ""), module
    # The module was loaded and not registered; its functions know where they are from.
    for method in vars(workflow_class).values():
        if isinstance(method, FunctionType):
            return method.__code__.co_filename, SimpleNamespace(**method.__globals__)
    return "", None


def build_bundle_from_source(
    file: str | os.PathLike[str],
    class_name: str,
    output_dir: str | os.PathLike[str],
    **options: Unpack[BundleOptions],
) -> Path:
    """Compile the workflow `class_name` in a Python file that is not imported; the path of the bundle.

    Raises: BundleCompileError, as `build_bundle`; also for options whose values only the module would know.
    """
    output = Path(output_dir)
    _write(output, _compiled(Path(file).absolute(), class_name, None, output, options))
    return output


def compile_source(file: str | os.PathLike[str], class_name: str, **options: Unpack[BundleOptions]) -> Bundle:
    """The bundle of a workflow in a Python file that is not imported, in memory.

    Raises: BundleCompileError, as `build_bundle_from_source`.
    """
    manifest, files = _compiled(Path(file).absolute(), class_name, None, None, options)
    return Bundle(manifest.decode(), files)


def workflows_in(file: str | os.PathLike[str]) -> list[str]:
    """The names of the workflow classes in a Python file that is not imported.

    Raises: BundleCompileError when it cannot be read as Python.
    """
    source = Source(Path(file).absolute())
    return [name for name, node in source.classes.items() if source.decorator(node, DECORATOR) is not None]


def _write(output: Path, compiled: tuple[bytes, dict[str, bytes]]) -> None:
    write(str(output), *compiled)


def _compiled(
    path: Path, name: str, module: object, output: Path | None, given: BundleOptions
) -> tuple[bytes, dict[str, bytes]]:
    """(the manifest, the payloads) of a workflow.

    module: what has the names of its module as attributes, None when it is not imported.  output: a folder
    that is no part of the bundle.
    """
    source = Source(path)
    mistakes = source.mistakes
    subject = f"workflow {name}"
    node = source.classes.get(name)
    if node is None or source.is_repeated(name):
        hint = "define it once, at the top of the module"
        mistakes.note(f"class {name!r} is not defined in {path.name}, or more than once", node, hint)
        raise mistakes.error(subject)
    constants = Constants(source, module)
    options = _options(source, node, constants, module, given)
    _check_file(source)
    try:
        program = _program(source, node, constants, module)
        environment = {key: str(value) for key, value in (given.get("environment") or {}).items()}
        nodes = NodeMaker(mistakes, source.name, environment)
        manifest = manifest_of(program, options, nodes, mistakes, line=node.lineno)
    except RecursionError:
        mistakes.note("an expression is nested too deeply", node)
        raise mistakes.error(subject) from None
    packer = Packer(
        str(path),
        str(output),
        mistakes,
        excludes=_texts(options, "excludes", mistakes, node),
        line=node.lineno,
    )
    includes = _texts(options, "includes", mistakes, node)
    packer.sources(includes, include_source_dir=given.get("include_source_dir", True))
    packer.uploads(_upload_sources(program))
    manifest["metadata"] |= {
        "generated_at": _generated_at(given.get("generated_at"), mistakes),
        "source_hash": packer.source_hash,
    }
    if not mistakes:
        _check_manifest(manifest, program, mistakes, node)
    mistakes.check(subject)
    return _encoded(manifest), packer.files


def _program(source: Source, node: ast.ClassDef, constants: Constants, module: object) -> Program:
    runs = [
        statement
        for statement in node.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        and source.decorator(statement, "workflow.run") is not None
    ]
    if len(runs) != 1:
        found = f"class {node.name} has {len(runs)} methods decorated with @workflow.run"
        source.mistakes.note(
            f"{found}; it needs one", runs[1] if runs else node, "write @workflow.run above def run(self):"
        )
        source.mistakes.check(f"workflow {node.name}")
    if len(source.methods(node, runs[0].name)) > 1:
        message = f"class {node.name} defines {runs[0].name!r} more than once"
        source.mistakes.note(message, source.methods(node, runs[0].name)[1], "define it once")
    agents = Agents(source, node, constants, module)
    return Reader(source.mistakes, Expressions(source, constants), agents).read(runs[0])


def _options(
    source: Source, node: ast.ClassDef, constants: Constants, module: object, given: BundleOptions
) -> dict[str, Json]:
    """The options of a workflow: those of its decorator, and over them those of the build."""
    mistakes = source.mistakes
    decorator = source.decorator(node, DECORATOR)
    options: dict[str, Json] = {}
    if decorator is None:
        mistakes.note(
            f"class {node.name!r} is not decorated with @{DECORATOR}", node, f"write @{DECORATOR}(name=...)"
        )
    else:
        mark = mark_of(module, node.name, workflow_module.MARK)
        options = read_options(mistakes, constants, decorator, DECORATOR, workflow_module.defn, mark)
        name = options.get("name")
        if not isinstance(name, str) or not name.strip():
            mistakes.note("a workflow must have a name", decorator, f'write @{DECORATOR}(name="...")')
    collected = {
        key: [*_listed(options.get(key)), *_listed(given.get(key))] for key in ("includes", "excludes")
    }
    for key, value in given.items():
        if key not in BundleOptions.__annotations__:
            raise TypeError(
                f"build_bundle() has no option {key!r}; it has {', '.join(BundleOptions.__annotations__)}"
            )
        if value is None or key in ("generated_at", "include_source_dir", "environment", *collected):
            continue
        try:
            options[key] = plain(value)
        except NotPlain as problem:
            mistakes.note(f"option {key!r} of build_bundle() must be plain: {problem}", node)
    return options | collected


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _texts(options: Mapping[str, Json], key: str, mistakes: Mistakes, node: ast.ClassDef) -> list[str]:
    """The paths or patterns of an option."""
    found: list[str] = []
    for item in options[key]:
        if isinstance(item, str | os.PathLike) and os.fspath(item) and "\0" not in str(item):
            found.append(str(item))
        else:
            mistakes.note(f"option {key!r} must be a list of paths, found {item!r}", node)
    return found


def _check_file(source: Source) -> None:
    """Note what would keep a worker from importing the workflow."""
    name = source.name
    taken = name in sys.stdlib_module_names or name in ("mn_sdk", "mn_worker", "__init__", "__main__")
    if taken or "." in name or source.path.suffix != ".py":
        hint = "give it a name of its own, as research_workflow.py"
        source.mistakes.note(f"the workflow's file cannot be imported as {name!r}", None, hint)
    for node in source.relative_imports:
        message = "a bundle's sources are no package: the worker cannot follow a relative import"
        source.mistakes.note(
            message, node, "import the module by its name; add its folder to includes if it is elsewhere"
        )


def _upload_sources(program: Program) -> list[str]:
    uploads = [call.agent.options.get("uploads") for call in program.calls.values()]
    items = [
        item for listed in uploads if isinstance(listed, list) for item in listed if isinstance(item, dict)
    ]
    return [item["source"] for item in items if isinstance(item.get("source"), str)]


def _generated_at(given: str | None, mistakes: Mistakes) -> str:
    if given is not None:
        return given
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return moment(int(epoch) if epoch else int(time.time()))
    except (ValueError, OverflowError, OSError):
        mistakes.note(f"SOURCE_DATE_EPOCH must be whole seconds since 1970, found {epoch!r}")
        return ""


def _check_manifest(
    manifest: Mapping[str, Json], program: Program, mistakes: Mistakes, node: ast.ClassDef
) -> None:
    """Note what the runtime would refuse, at the decorators that say it."""
    lines = [call.agent.line for call in program.calls.values()]
    errors = [(one, one.pointer.split("/")[1:]) for one in findings(manifest) if one.severity == "error"]
    ids_are_sound = not any(parts[2:] == ["node_id"] for _, parts in errors)
    for finding, parts in errors:
        if parts[:1] == ["nodes"] and len(parts) > 1 and parts[1].isdecimal():
            mistakes.note(finding.message, lines[int(parts[1])], finding.help)
        elif ids_are_sound:  # Else what names the nodes is wrong only because their ids are.
            mistakes.note(finding.message, node, finding.help)


def _encoded(manifest: Mapping[str, Json]) -> bytes:
    """A manifest as a file: sorted, indented, with a final newline."""
    encoded = msgspec.json.encode(manifest, order="deterministic")
    return msgspec.json.format(encoded, indent=2) + b"\n"
