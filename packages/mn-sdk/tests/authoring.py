"""An author at a desk: writes workflows into a folder and compiles them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from headway_wire.errors import Problem
from headway_wire.manifest import Manifest, read
from mn_sdk import BundleCompileError, build_bundle, build_bundle_from_source

AGENTS = """
from mn_sdk import agent, workflow

{before}
class Agents:
    @agent.defn({agent})
    def a(self, *args, **kwargs): return args
    @agent.defn()
    def b(self, *args, **kwargs): return args
    @agent.defn(name="sea")
    def c(self, *args, **kwargs): return args
    @agent.defn()
    def d(self, *args, **kwargs): return args
    @agent.defn(uses_action="host.clean")
    def clean(self, *args, **kwargs): ...
    def plain(self): ...


@workflow.defn({workflow})
class W:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
{body}
"""

_numbers = itertools.count()


class Author:
    """Writes into a folder of its own; compiles without importing unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder.parent / "bundle"

    def write(self, name: str, content: str | bytes = "") -> Path:
        """A file beside the workflow."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def module(self, body: str, *, before: str = "", agent: str = "", workflow: str = 'name="w"') -> str:
        """The text of a module with the workflow `W`, whose `run` has this body."""
        indented = textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)
        return AGENTS.format(before=before, agent=agent, workflow=workflow, body=indented)

    def compile(self, body: str, *, options: dict[str, Any] | None = None, **parts: str) -> dict[str, Any]:
        """The manifest of the workflow with this `run`."""
        return self.compile_text(self.module(body, **parts), **(options or {}))

    def compile_text(self, text: str, name: str = "W", **options: Any) -> dict[str, Any]:
        """The manifest of the workflow `name` in a module with this text."""
        file = self.write("flow.py", text)
        bundle = build_bundle_from_source(file, name, self.output, **options)
        manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
        self.checked(manifest)
        return manifest

    def dataflow(self, body: str, **parts: Any) -> dict[str, Any]:
        """The `dataflow` of the workflow with this `run`."""
        found: dict[str, Any] = self.compile(body, **parts)["dataflow"]
        return found

    def mistakes(self, body: str, *, options: dict[str, Any] | None = None, **parts: str) -> list[Problem]:
        """What is wrong with the workflow with this `run`."""
        self.write("flow.py", self.module(body, **parts))
        return self.refused("flow.py", **(options or {}))

    def refused(self, file: str, **options: Any) -> list[Problem]:
        """What is wrong with the workflow `W` in a file."""
        with pytest.raises(BundleCompileError) as refused:
            build_bundle_from_source(self.folder / file, "W", self.output, **options)
        assert not (self.output / "manifest.json").exists(), "a refused workflow leaves nothing"
        return list(refused.value.problems)

    def imported(self, text: str) -> ModuleType:
        """A module with this text, imported."""
        name = f"imported_flow_{next(_numbers)}"
        path = self.write(f"{name}.py", text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def build(self, workflow: type[object], **options: Any) -> dict[str, Any]:
        """The manifest of an imported workflow."""
        bundle = build_bundle(workflow, self.output, **options)
        manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
        self.checked(manifest)
        return manifest

    def checked(self, manifest: dict[str, Any]) -> Manifest:
        """The manifest as the runtime reads it."""
        return read(manifest)

    @property
    def packaged(self) -> list[str]:
        """The names of the sources in the last bundle."""
        root = self.output / "payloads" / "mn_python_workflow" / "source"
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
