"""The bench's verdicts, what it says about what it could not measure, and its page in the reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.environments import Missing
from bench.report import summary, table
from bench.runner import Measured, Report, judge, take
from bench.scenarios import SCENARIOS, Goal, Scenario, Side

OURS = Side("ours", "headway", "headway_steps", "steps", 10)
THEIRS = Side("theirs", "headway", "headway_steps", "steps", 10)
GOAL = Goal("ours", "steps_per_s", "theirs", at_least=2)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "benchmarks.md"


def measured(side: Side, *rates: float) -> Measured:
    return Measured(side, samples=[{"steps_per_s": rate} for rate in rates])


def report_of(*sides: Measured) -> Report:
    by_name = {each.side.name: each for each in sides}
    return Report(Scenario("steps", "a title", (OURS, THEIRS), (GOAL,)), by_name, [judge(GOAL, by_name)])


def test_a_goal_compares_medians_so_that_one_bad_sample_decides_nothing() -> None:
    report = report_of(measured(OURS, 30, 1, 31), measured(THEIRS, 10, 9, 1_000))

    assert report.outcomes[0].value == 3
    assert report.outcomes[0].met


def test_a_ratio_below_its_goal_is_said_to_miss_it() -> None:
    report = report_of(measured(OURS, 19), measured(THEIRS, 10))

    assert "NOT MET" in table(report)
    assert "0 goals met, 1 not met, 0 not measured" in summary([report])


def test_a_side_that_could_not_be_measured_is_named_with_its_reason() -> None:
    report = report_of(measured(OURS, 30), Measured(THEIRS, missing="there is no npm here"))

    assert "NOT MEASURED: theirs: there is no npm here" in table(report)
    assert "0 goals met, 0 not met, 1 not measured" in summary([report])


def test_a_program_that_fails_says_why_instead_of_delivering_a_sample(tmp_path: Path) -> None:
    broken = Side("broken", "headway", "headway_steps", "no-such-measure", 10)

    with pytest.raises(Missing, match="no-such-measure"):
        take(broken, tmp_path, postgres="", quick=True)


def test_a_sample_carries_the_rate_and_the_durability_that_the_store_read_back(
    tmp_path: Path,
) -> None:
    sample = take(OURS, tmp_path, postgres="", quick=True)

    assert sample["metrics"]["steps_per_s"] > 0
    assert "FULL" in sample["facts"]["durability"]


def test_the_reference_lists_every_scenario_with_its_goals() -> None:
    stated: dict[str, list[str]] = {}
    name = ""
    for row in re.findall(
        r"^\| (.*) \|$", PAGE.read_text().partition("## Goals")[2].partition("\n## ")[0], re.M
    ):
        first, _, goal = (cell.strip() for cell in row.split("|"))
        name = first.strip("`") or name
        stated.setdefault(name, []).append(goal)

    aimed_at = {each.name: [goal.bound() for goal in each.goals if goal.bound()] for each in SCENARIOS}

    assert {name: goals for name, goals in stated.items() if name in aimed_at} == aimed_at
