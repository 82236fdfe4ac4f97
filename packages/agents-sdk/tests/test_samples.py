"""The samples of the readme and the guide run as printed.

The files in samples/ are those documents' code with its indentation restored and nothing else changed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import mirastack_sdk
import pytest
from mirastack_sdk.describe import describe, servable
from mirastack_sdk.plugin import Permission, TimeRange
from mirastack_sdk.testing import (
    AskedApproval,
    LoggedEvent,
    MockEngineClient,
    TestClient,
    make_execute_request,
)

SAMPLES = Path(__file__).parent / "samples"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 10))


def load(sample: str, folder: Path) -> ModuleType:
    """The sample as a module of its own, from a copy in `folder`."""
    path = folder / Path(sample).name
    shutil.copy(SAMPLES / f"{sample}.txt", path)
    spec = importlib.util.spec_from_file_location(f"sample_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fragment(sample: str, folder: Path, **names: Any) -> dict[str, Any]:
    """What a fragment defines, in a module that knows everything the SDK exports, and `names`."""
    return _module("from mirastack_sdk import *\n" + _text(sample), folder, names)


def expression(sample: str, folder: Path) -> Any:
    """What a fragment that consists of one expression is."""
    before, found, after = _text(sample).rpartition("import PromptTemplate\n")
    text = f"from mirastack_sdk import *\n{before}{found}value = {after}"
    return _module(text, folder, {})["value"]


def _text(sample: str) -> str:
    return (SAMPLES / f"{sample}.txt").read_text(encoding="utf-8")


def _module(text: str, folder: Path, names: dict[str, Any]) -> dict[str, Any]:
    path = folder / "fragment.py"
    path.write_text(text, encoding="utf-8")
    return runpy.run_path(str(path), init_globals=names)


def test_the_readmes_quick_start_passes_the_gate_and_answers(tmp_path: Path) -> None:
    agent = load("readme/quick_start.py", tmp_path).MyAgent()

    description = describe(agent)

    assert description.violations == ()
    assert description.warnings == ()
    assert description.info["default_intents"][0]["pattern"] == "query.*metrics|show.*metrics"
    assert [(param.name, param.required) for param in description.actions[0].input_params] == [
        ("service", True)
    ]
    assert run(TestClient(agent).call("query", service="api")) == {"service": "api", "status": "ok"}


def test_the_readmes_engine_calls_reach_the_engine(tmp_path: Path) -> None:
    class Complete(fragment("readme/engine_context.py", tmp_path)["MyAgent"]):  # type: ignore[misc]
        """The fragment shows two methods of an agent; this is the rest of it."""

        def info(self) -> Any:
            action = mirastack_sdk.Action("query", "Queries", "READ", "observe")
            return mirastack_sdk.PluginInfo("my-agent", "0.1.0", "Example", actions=[action])

    engine = MockEngineClient({"backend.url": "http://localhost"})
    output = run(TestClient(Complete(), engine=engine).call("query"))

    assert output == {}
    assert engine.cache == {"key": "value"}
    assert [published.output for published in engine.published] == [{"data": "value"}]
    assert [published.execution_id for published in engine.published] == ["test-run"]
    assert engine.approvals == [AskedApproval("Proceed?", Permission.MODIFY, None)]
    assert engine.events == [LoggedEvent("info", "action_completed", {"action": "query"})]


def test_the_readmes_declarations_mean_what_they_say(tmp_path: Path) -> None:
    action = expression("readme/restart_service.py", tmp_path)
    intent = expression("readme/intent_pattern.py", tmp_path)
    template = expression("readme/prompt_template.py", tmp_path)

    assert (action.id, action.permission) == ("restart_service", Permission.MODIFY)
    assert [param.name for param in action.input_params if param.required] == ["namespace", "deployment"]
    assert [param.name for param in action.output_params] == ["status"]
    assert (intent.priority, intent.action) == (10, "")
    assert template.content == "Analyse the following data: {{ data }}"


def test_the_readmes_responses_are_what_it_says_of_them(tmp_path: Path) -> None:
    @dataclass
    class Measured:
        metric: float

    imported, *returned = _text("readme/respond.py").splitlines()
    functions = [f"def answer_{number}():\n    {line}\n" for number, line in enumerate(returned)]
    made = _module("\n".join([imported, *functions]), tmp_path, {"my_dataclass": Measured(1.5)})

    assert [made[f"answer_{number}"]().output for number in range(len(returned))] == [
        b'{"metric": 42.0, "service": "api"}',
        b'{"metric": 1.5}',
        b'{"error": "backend unavailable"}',
        b'{"raw": "json"}',
    ]


def test_the_readmes_date_conversions_run(tmp_path: Path) -> None:
    req = make_execute_request(time_range=TimeRange(1775088045678, 1775088045679))

    made = fragment("readme/datetime_utilities.py", tmp_path, req=req)

    assert made["start"] == "2026-04-02T00:00:45Z"


def test_the_guides_plugin_passes_the_gate_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_BACKEND_URL", "http://one")
    plugin = load("guide/plugin.py", tmp_path).MyAgentPlugin()
    client = TestClient(plugin)

    assert servable(plugin).warnings == ()
    assert [
        (action.id, action.permission, [param.required for param in action.input_params])
        for action in servable(plugin).actions
    ] == [("get_item", Permission.READ, [True]), ("list_items", Permission.READ, [False])]
    found = run(client.call("get_item", id="7"))
    assert json.loads(found["result"]) == {"id": "7", "name": "example item"}
    listed = run(client.run("list_items", as_text=True))
    assert json.loads(listed.output["result"]) == [{"id": "1", "name": "item one"}]
    missing = run(client.run("get_item"))
    assert (missing.output, missing.logs) == ({}, ["missing required param: id"])
    run(plugin.config_updated({"backend_url": "http://two"}))
    assert plugin.backend_url == "http://two"


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({}, 1, "MY_BACKEND_URL environment variable is required"),
        ({"MY_BACKEND_URL": "http://b"}, 1, "MIRASTACK_PLUGIN_TENANT_SLUG"),
    ],
)
def test_the_guides_main_says_what_is_missing(
    tmp_path: Path, environment: dict[str, str], code: int, said: str
) -> None:
    for name in ("main.py", "plugin.py"):
        shutil.copy(SAMPLES / f"guide/{name}.txt", tmp_path / name)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MIRASTACK_", "MY_"))}

    ended = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr


@pytest.mark.parametrize("sample", ["readme/quick_start.py", "guide/main.py"])
def test_the_samples_start_serve_and_stop(tmp_path: Path, sample: str) -> None:
    for name in ("readme/quick_start.py", "guide/main.py", "guide/plugin.py"):
        shutil.copy(SAMPLES / f"{name}.txt", tmp_path / Path(name).name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIRASTACK_")} | {
        "MY_BACKEND_URL": "http://b",
        "MIRASTACK_PLUGIN_TENANT_SLUG": "acme",
        "MIRASTACK_PLUGIN_ADDR": "127.0.0.1:0",
    }
    with subprocess.Popen(
        [sys.executable, Path(sample).name],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            process.terminate()
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()

    assert line.startswith("MIRASTACK_PLUGIN_PORT="), said
    assert process.returncode == 0, said


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (TimeRange(1775088045678, 1775088046678), ("1775088045.678", "1775088046.678")),
        (None, ("-1h", "now")),
    ],
)
def test_the_guides_time_ranges_are_converted(
    tmp_path: Path, window: TimeRange | None, expected: tuple[str, str]
) -> None:
    scope = fragment("guide/time_ranges.py", tmp_path)
    seen: list[tuple[str, str]] = []

    def backend(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code.co_name == "_action_query":
            seen.append((frame.f_locals["start"], frame.f_locals["end"]))

    sys.setprofile(backend)  # the sample computes and, as printed, hands on nothing
    try:
        run(scope["_action_query"](None, {"start": "-1h", "end": "now"}, window))
    finally:
        sys.setprofile(None)

    assert seen == [expected]


def test_the_guides_prompt_templates_load(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "guide/templates", tmp_path / "templates")
    scope = fragment("guide/prompt_templates.py", tmp_path)

    (template,) = scope["info"](None).prompt_templates

    assert template.name == "my_agent_analysis"
    assert template.description == "Context and guidelines for the LLM when analysing my-agent results"
    assert template.content.startswith("You have access to my-agent observation tools.\n")
    assert scope["load_prompt_templates"]() == mirastack_sdk.load_prompt_templates(
        tmp_path / "templates", scope["TEMPLATE_DESCRIPTIONS"]
    )
