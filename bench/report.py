"""The table a person reads, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.runner import Outcome, Report
from bench.sample import Facts

WIDTHS = (30, 40, 14, 14, 9, 9, 10)
HEADS = ("side", "compared", "own", "other", "ratio", "goal", "verdict")


def heading(facts: Facts) -> str:
    return "\n".join(f"{name:>24}  {value}" for name, value in facts.items())


def table(report: Report) -> str:
    """One scenario: a line a goal, then what is missing or disturbed, loudly."""
    lines = [f"\n{report.scenario.name}: {report.scenario.title}", _row(HEADS)]
    lines += [_row(_cells(outcome)) for outcome in report.outcomes]
    for measured in report.sides.values():
        if measured.missing:
            lines.append(f"  !! NOT MEASURED: {measured.side.name}: {measured.missing}")
        elif measured.disturbed:
            count = len(measured.samples)
            lines.append(
                f"  !! disturbed by other work: {measured.disturbed} of {count} of {measured.side.name}"
            )
    return "\n".join(lines)


def summary(reports: Iterable[Report]) -> str:
    outcomes = [outcome for report in reports for outcome in report.outcomes if outcome.goal.bound()]
    met = sum(outcome.met is True for outcome in outcomes)
    missed = sum(outcome.met is False for outcome in outcomes)
    return f"\n{met} goals met, {missed} not met, {len(outcomes) - met - missed} not measured"


def as_json(machine: Facts, reports: Iterable[Report]) -> dict[str, Any]:
    return {"machine": machine, "scenarios": [_scenario(report) for report in reports]}


def _scenario(report: Report) -> dict[str, Any]:
    sides = {
        name: {
            "samples": measured.samples,
            "facts": measured.facts,
            "disturbed": measured.disturbed,
            "missing": measured.missing,
        }
        for name, measured in report.sides.items()
    }
    goals = [
        {
            "of": outcome.goal.of,
            "to": outcome.goal.to,
            "metric": outcome.goal.metric,
            "own": outcome.own,
            "other": outcome.other,
            "value": outcome.value,
            "goal": outcome.goal.bound(),
            "met": outcome.met,
        }
        for outcome in report.outcomes
    ]
    return {"name": report.scenario.name, "title": report.scenario.title, "sides": sides, "goals": goals}


def _cells(outcome: Outcome) -> tuple[str, ...]:
    goal = outcome.goal
    metric = goal.metric if goal.to_metric in ("", goal.metric) else f"{goal.metric} / {goal.to_metric}"
    compared = f"{metric}, to {goal.to}" if goal.to and goal.to != goal.of else metric
    verdict = {True: "met", False: "NOT MET", None: "" if outcome.value is not None else "NOT MEASURED"}
    return (
        goal.of,
        compared,
        _number(outcome.own, goal.metric),
        _number(outcome.other, goal.to_metric or goal.metric) if goal.to else "",
        "-" if outcome.value is None else f"{outcome.value:.3g}",
        goal.bound(),
        verdict[outcome.met],
    )


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return "-"
    if metric.endswith("_bytes"):
        return f"{value / 2**20:,.1f} MiB"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _row(cells: tuple[str, ...]) -> str:
    padded = [
        cell.ljust(width) if index < 2 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ]
    return "  " + " ".join(padded).rstrip()
