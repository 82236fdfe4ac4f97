"""docs/guide/write-an-agent.md is true: its code runs in the order it is printed, and its facts hold."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from mirastack_sdk.describe import describe

GUIDE = Path(__file__).resolve().parents[3] / "docs/guide/write-an-agent.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def guide_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The guide's code as one module."""
    module = ModuleType("guide_module")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # type hints are looked up there
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(BLOCK.findall(GUIDE.read_text(encoding="utf-8")), 1):
        exec(compile(block, f"{GUIDE.name} block {number}", "exec", dont_inherit=True), vars(module))
    return module


def test_the_guides_code_runs_and_its_agents_pass_the_gate(guide_module: ModuleType) -> None:
    agents = [guide_module.agent, guide_module.Disks("/mnt"), guide_module.Metrics()]

    assert [describe(agent).violations for agent in agents] == [(), (), ()]
    assert [action.id for action in describe(agents[0]).actions] == [
        "disk_usage",
        "clean_up",
        "usage_over_time",
    ]


def test_the_variables_the_guide_names_are_those_the_sdk_reads() -> None:
    from mirastack_sdk.runtime import settings

    source = inspect.getsource(settings)
    named = set(re.findall(r"MIRASTACK_[A-Z_]+[A-Z]", GUIDE.read_text(encoding="utf-8")))

    assert {name for name in named if name not in source} == set()
