"""docs/guide/write-an-agent.md is true of this SDK."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

import pytest
from mirastack_sdk.describe import describe
from mirastack_sdk.runtime import settings

GUIDE = Path(__file__).resolve().parents[3] / "docs/guide/write-an-agent.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_agents_of_the_guide_pass_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "disks.py"
    program.write_text("\n".join(BLOCK.findall(GUIDE.read_text(encoding="utf-8"))), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    made = runpy.run_path(str(program), run_name="disks")

    agents = [made["agent"], made["Disks"]("/mnt"), made["Metrics"]()]
    assert [describe(agent).violations for agent in agents] == [(), (), ()]
    assert [action.id for action in describe(agents[0]).actions] == [
        "disk_usage",
        "clean_up",
        "usage_over_time",
    ]


def test_the_variables_the_guide_names_are_those_the_sdk_reads() -> None:
    source = inspect.getsource(settings)
    named = set(re.findall(r"MIRASTACK_[A-Z_]+[A-Z]", GUIDE.read_text(encoding="utf-8")))

    assert {name for name in named if name not in source} == set()
