"""The worker of a bundle: one message in, one JSON object out.  Source: bundle contract, section 13.3."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from authoring import Author
from mn_sdk import build_bundle_from_source
from mn_sdk.payload import mn_worker
from test_compile_chain import SAMPLE

AGENTS = """
import os, sys
from mn_sdk import agent, workflow

class Agents:
    made = 0

    def __init__(self):
        Agents.made += 1

    @agent.defn()
    def talk(self, *args, **kwargs):
        print("said to stdout")
        os.system("echo said by a child")
        os.write(1, b"said to the file itself\\n")
        return {"args": args, "kwargs": kwargs}

    @agent.defn()
    async def later(self, x): return x

    @agent.defn()
    def fails(self, x): raise LookupError("nothing here")

    @agent.defn()
    def odd(self, x): return float("nan")

    @agent.defn()
    def leaves(self, x): sys.exit(3)

@workflow.defn("w")
class W:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
        return self.agents.METHOD(1)
"""


class Bundle:
    """The folder of a bundle, and its workers."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    def work(self, node: dict[str, Any], body: object, **more: str) -> subprocess.CompletedProcess[str]:
        """What a fresh process of the node's command does with a message."""
        staging = self.folder / "payloads" / "mn_python_workflow"
        message = self.folder / "message.json"
        message.write_text(json.dumps(body))
        environment = {**node["config"]["environment"], **more, "MN_INPUT_FILE": str(message)}
        _, program = node["config"]["command"]
        return subprocess.run(
            [sys.executable, program],
            cwd=staging,
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def answer(self, node: dict[str, Any], body: object, **more: str) -> dict[str, Any]:
        """The one object that it prints."""
        done = self.work(node, body, **more)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def bundle(author: Author, method: str, **options: Any) -> Bundle:
    """A bundle with one agent."""
    manifest = author.compile_text(AGENTS.replace("METHOD", method), **options)
    return Bundle(author.output, manifest)


def test_the_sample_of_the_reference_runs_to_its_end(author: Author) -> None:
    manifest = author.compile_text(SAMPLE, "MarketingResearchFlow")
    made = Bundle(author.output, manifest)
    ingress, reviewer = manifest["nodes"]
    (seed,) = manifest["initial_inputs"]["ingress"]

    first = made.answer(ingress, seed)
    (message,) = first["emit_messages"]
    last = made.answer(reviewer, message["body"])

    request = {
        "message_type": "research_request",
        "topic": "electric vehicle charging adoption",
        "text": "Collect a short research summary.",
    }
    assert message == {"type": "ingress_result", "body": {"args": [request], "kwargs": {}}}
    assert manifest["edges"][0]["message_type"] == message["type"]
    assert last == {"complete_run": {"status": "saved", "summary": None}}


def test_what_agents_and_their_children_print_is_a_log_and_not_the_answer(author: Author) -> None:
    made = bundle(author, "talk")

    done = made.work(made.manifest["nodes"][0], {"args": [1], "kwargs": {"k": "é"}})

    assert json.loads(done.stdout) == {"complete_run": {"args": [1], "kwargs": {"k": "é"}}}
    assert sorted(done.stderr.splitlines()) == [
        "said by a child",
        "said to stdout",
        "said to the file itself",
    ]


@pytest.mark.parametrize(
    ("body", "args", "kwargs"),
    [
        ({}, [], {}),
        ({"args": [1, 2]}, [1, 2], {}),
        ({"kwargs": {"x": 1}, "_mn_step": {}}, [], {"x": 1}),
        ({"args": None, "kwargs": None}, [], {}),
        ({"topic": "tea"}, [{"topic": "tea"}], {}),
        ("text", ["text"], {}),
        ([1], [[1]], {}),
        (None, [None], {}),
    ],
)
def test_a_message_of_ours_holds_arguments_and_any_other_is_the_argument(
    author: Author, body: object, args: list[Any], kwargs: dict[str, Any]
) -> None:
    made = bundle(author, "talk")

    answer = made.answer(made.manifest["nodes"][0], body)

    assert answer == {"complete_run": {"args": args, "kwargs": kwargs}}


def test_the_last_agent_of_a_service_keeps_its_result_and_reports_it(author: Author) -> None:
    made = bundle(author, "later", type="service")
    node = made.manifest["nodes"][0]

    for result, state in (({"k": 1}, {"k": 1}), (7, {"result": 7}), (None, {"result": None})):
        assert made.answer(node, {"args": [result]}) == {
            "next_state": state,
            "events": [{"type": "python_workflow_result", "payload": state}],
        }


@pytest.mark.parametrize(
    ("method", "code", "said"),
    [
        ("fails", 1, "LookupError: nothing here"),
        ("odd", 1, "ValueError: Out of range float values are not JSON compliant"),
        ("leaves", 3, ""),
    ],
)
def test_an_agent_that_fails_prints_its_traceback_and_no_answer(
    author: Author, method: str, code: int, said: str
) -> None:
    made = bundle(author, method)

    done = made.work(made.manifest["nodes"][0], {"args": [1]})

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_a_worker_leaves_no_compiled_files_in_its_folder(author: Author) -> None:
    made = bundle(author, "talk")

    made.answer(made.manifest["nodes"][0], {})

    assert not list(author.output.rglob("__pycache__"))


# Turns --------------------------------------------------------------------------------------------


def worker(author: Author) -> ModuleType:
    """The worker of the last bundle as a module, as a process that stays has it."""
    path = author.output / "payloads" / "mn_python_workflow" / "mn_worker.py"
    spec = importlib.util.spec_from_file_location("worker_of_a_bundle", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_process_that_stays_takes_many_turns_each_with_an_object_of_its_own(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = AGENTS.replace("METHOD", "talk")
    file = author.write("turns_of_a_bundle.py", text)
    build_bundle_from_source(file, "W", author.output)
    monkeypatch.setattr(sys, "path", list(sys.path))
    env = {
        "MN_PY_SOURCE_MODULE": "turns_of_a_bundle",
        "MN_PY_OWNER_CLASS": "Agents",
        "MN_PY_METHOD": "later",
        "MN_PY_OUTPUT_TYPE": "later_result",
        "MN_PY_FINAL": "0",
    }
    turn = worker(author).turn
    before = list(sys.path)

    answers = [turn({"args": [number], "kwargs": {}}, env) for number in range(3)]

    assert [answer["emit_messages"][0]["body"]["args"] for answer in answers] == [[0], [1], [2]]
    assert sys.modules["turns_of_a_bundle"].Agents.made == 3
    assert sys.path[1:] == before
    del sys.modules["turns_of_a_bundle"]


def test_the_worker_of_every_bundle_is_the_file_that_is_shipped(author: Author) -> None:
    author.compile("return self.agents.a(1)")

    packaged = author.output / "payloads" / "mn_python_workflow" / "mn_worker.py"
    assert packaged.read_bytes() == Path(str(mn_worker.__file__)).read_bytes()
