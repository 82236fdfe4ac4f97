"""The runbooks in examples/ and in the guide are sound, fit the host agent, and compute what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from headway.core.plan import Compute, Rule
from headway.runbooks import bind_inputs, check, compile, evaluate, parse
from headway.runbooks.budget import WORK_MAX
from headway.runbooks.cel import CHAIN_MAX, EXPRESSION_CHARS_MAX, MACROS, NESTING_MAX
from headway.runbooks.expressions import RESULT_BYTES_MAX, TEMPLATES_MAX
from headway.runbooks.functions import FUNCTIONS
from headway.runbooks.inputs import EXPECTED
from headway.runbooks.loader import INPUT_KEYS, RUNBOOK_KEYS
from headway.runbooks.steps import ON_ERROR, RETRY_KEYS, STEP_KEYS, TYPES

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted((ROOT / "examples" / "runbooks").glob("*.yaml"))
FENCED = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)

HOST: dict[str, Any] = {
    "host": {
        **{name: (1, []) for name in ("cpu", "memory", "disks", "busiest_processes", "listening_ports")},
        "clean_directory": (2, [{"name": "path", "required": True}, {"name": "older_than_days"}]),
    }
}


def documented() -> list[Any]:
    """Every whole runbook in the guide and the reference."""
    pages = [ROOT / "docs/guide/write-a-runbook.md", ROOT / "docs/reference/runbook.md"]
    texts = [(page.name, text) for page in pages for text in FENCED.findall(page.read_text())]
    return [pytest.param(text, id=f"{name}-{n}") for n, (name, text) in enumerate(texts) if "name:" in text]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_sound_and_fits_the_host_agent(path: Path) -> None:
    runbook = parse(path.read_bytes(), filename=path.name)
    found = check(runbook, HOST)

    assert runbook.name == path.stem
    assert (found.errors, found.warnings) == ([], [])
    assert compile(runbook).problems == []


@pytest.mark.parametrize("text", documented())
def test_a_runbook_in_the_docs_is_sound(text: str) -> None:
    assert compile(parse(text)).problems == []


def test_each_example_is_about_something_else() -> None:
    assert len(EXAMPLES) >= 6


def test_the_host_report_asks_at_once_sums_up_and_then_changes() -> None:
    plan = compile(parse((ROOT / "examples/runbooks/host-report.yaml").read_bytes()))
    questions = ["cpu", "memory", "disks", "processes", "ports"]

    assert [step for step, parents in plan.parents.items() if not parents] == questions
    assert sorted(plan.parents["summary"]) == sorted(questions)
    assert plan.parents["clean"] == ("summary",)


def test_the_summary_of_the_host_report_names_what_deserves_a_look() -> None:
    plan = compile(parse((ROOT / "examples/runbooks/host-report.yaml").read_bytes()))
    inputs = bind_inputs(plan, {"path": "/tmp/old"})
    outputs: dict[str, Any] = {
        "cpu": {"percent": 97.5},
        "memory": {"percent": 41.0},
        "disks": {"disks": [{"mount": "/", "percent": 91}, {"mount": "/data", "percent": 20.5}]},
        "processes": {"processes": [{"name": "python"}, {"name": "python"}, {"name": "sh"}]},
        "ports": {"ports": [{"port": 9090}, {"port": 22}, {"port": 22}]},
    }
    steps: dict[str, Any] = {id: {"output": output} for id, output in outputs.items()}
    work = plan.by_id["summary"].work
    assert isinstance(work, Compute)

    summary = evaluate(work.value, {"inputs": inputs, "steps": steps})

    assert summary == {
        "cpu_percent": 97.5,
        "memory_percent": 41.0,
        "fullest_disk": 91,
        "busiest": ["python", "sh"],
        "open_ports": [22, 9090],
        "findings": ["The CPU is busy: 97.5 %", "Disk / is nearly full: 91 %"],
    }
    steps |= {"summary": {"output": summary}, "clean": {"status": "rejected", "output": None}}
    assert evaluate(plan.outputs["headline"], {"inputs": inputs, "steps": steps}) == (
        "The CPU is busy: 97.5 %; Disk / is nearly full: 91 %"
    )


def test_the_reference_names_every_function_and_no_other() -> None:
    page = (ROOT / "docs/reference/expressions.md").read_text()
    usages = [function.usage for function in FUNCTIONS.values()]

    table = page.split("## Functions")[1].split("Over lists")[0]

    told = re.findall(r"`((?:[a-z]+\.)?[a-zA-Z]+\([a-z, ]*\))`", table)
    assert sorted(told) == sorted(usages)
    for macro in MACROS:
        assert f"`list.{macro}(x, " in page


def test_the_reference_names_every_limit_of_expressions() -> None:
    limits = (ROOT / "docs/reference/expressions.md").read_text().split("## Limits")[1]

    for limit in (EXPRESSION_CHARS_MAX, NESTING_MAX, CHAIN_MAX, TEMPLATES_MAX, WORK_MAX):
        assert f"{limit:,}" in limits
    assert f"{RESULT_BYTES_MAX // 2**20} MiB" in limits


def test_the_reference_names_every_key_trigger_policy_and_type() -> None:
    page = (ROOT / "docs/reference/runbook.md").read_text()
    rules = [rule.value if rule is not Rule.QUORUM else "quorum: N" for rule in Rule]

    for word in [*RUNBOOK_KEYS, *INPUT_KEYS, *STEP_KEYS, *TYPES, *EXPECTED, *ON_ERROR, *RETRY_KEYS, *rules]:
        assert f"`{word}`" in page, word
