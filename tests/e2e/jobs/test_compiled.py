"""Workflows that are written in Python, compiled and run by a real engine, to their results."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mn_sdk.compiler import compile_source

from tests.e2e.jobs.house import Jobs, jobs
from tests.tidy.tree import REPOSITORY

SEED = (REPOSITORY / "packages/mn-sdk/tests/samples/mn-python-sdk.txt").read_text()
SAMPLE = SEED[SEED.index("from mn_sdk import agent, workflow") : SEED.index("Generate the checked-in")]

RICH = """
from mn_sdk import RetryPolicy, agent, workflow

DOCUMENTS = workflow.input("documents", default=["a b", "c", "d e f"])
LIMIT = 2

class Agents:
    @agent.defn()
    def split(self, documents, *, limit):
        print("this is a log")
        return {"words": [{"text": word} for text in documents for word in text.split()], "limit": limit}

    @agent.defn(retries=RetryPolicy(max_attempts=2, backoff_ms=10))
    async def score(self, word, limit):
        return {"word": word, "good": ord(word) % limit == 0}

    @agent.defn(type="reduce")
    def best(self, scores):
        return {"good": [one["word"] for one in scores if one["good"]], "none": None}

    @agent.defn()
    def praise(self, words): return f"praise for {len(words)}"

    @agent.defn()
    def regret(self, words): return "regret"

    @agent.defn()
    def report(self, said, *, about, missing): return {"said": said, "about": about, "missing": missing}

@workflow.defn("rich")
class Rich:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
        parts = self.agents.split(DOCUMENTS, limit=LIMIT)
        scores = [self.agents.score(word["text"], parts["limit"]) for word in parts["words"]]
        found = self.agents.best(scores)
        if found["good"] and parts["limit"] < 3:
            said = self.agents.praise(found["good"])
        else:
            said = self.agents.regret(scores[-1])
        return self.agents.report(said, about={"first": scores[0], "n": LIMIT}, missing=found.get("no"))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """One engine for all of them."""
    with jobs(tmp_path_factory.mktemp("compiled")) as found:
        yield found


def result(house: Jobs, file: Path, name: str, **options: Any) -> Any:
    """What the job of a workflow comes to."""
    bundle = compile_source(file, name, **options)
    job_id = house.client.submit_job(bundle.manifest_json, bundle.payloads)
    job = house.ended(job_id)["job"]
    assert job["status"] == "completed", job
    return job["result"]["output"]


def test_the_sample_of_the_reference_runs_to_its_end_with_its_real_arguments(
    house: Jobs, tmp_path: Path
) -> None:
    file = tmp_path / "research_flow.py"
    file.write_text(SAMPLE)

    assert result(house, file, "MarketingResearchFlow") == {"status": "saved", "summary": None}


def test_a_program_with_a_scatter_and_a_branch_comes_to_what_python_would(
    house: Jobs, tmp_path: Path
) -> None:
    file = tmp_path / "rich_flow.py"
    file.write_text(RICH)

    first = {"word": "a", "good": False}
    assert result(house, file, "Rich") == {
        "said": "praise for 3",
        "about": {"first": first, "n": 2},
        "missing": None,
    }
    assert result(house, file, "Rich", initial_inputs={"documents": ["a c"]})["said"] == "regret"


@pytest.mark.parametrize("value", ["None", "True", "False", "0", "[]", "'text'", "{'k': [1]}"])
def test_what_the_last_agent_returns_is_the_result_whatever_it_is(
    house: Jobs, tmp_path: Path, value: str
) -> None:
    file = tmp_path / "plain_flow.py"
    source = SAMPLE.replace('{"status": "saved", "summary": result.get("summary")}', value)
    assert source != SAMPLE
    file.write_text(source)

    assert json.dumps(result(house, file, "MarketingResearchFlow")) == json.dumps(ast.literal_eval(value))
