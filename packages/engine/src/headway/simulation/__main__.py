"""The simulator as a tool: `headway sim RUNBOOK` for one's own, `make sim` for random plans."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from headway.core.plan import Json
from headway.core.world import CannotEvaluate
from headway.runbooks import bind_inputs, compile, evaluate, parse
from headway.simulation.life import Campaign, campaign


def simulate_runbook(
    path: Path, *, seeds: Iterable[int], inputs: Sequence[str], changes: Sequence[str] = ()
) -> int:
    """Live through `seeds` with a runbook and print what that came to; 1 when an invariant broke.

    Its actions are played: what they answer is made up, and a template that finds nothing in it has the
    value it finds in an empty world.  inputs: ``key=value``.  changes: actions that count as MODIFY, since no
    agent is asked.  Raises Invalid for a runbook or input that is wrong.
    """
    logging.disable(logging.CRITICAL)  # Simulated disasters are not news.
    runbook = parse(path.read_bytes(), filename=str(path))
    plan = compile(runbook)
    given = bind_inputs(plan, dict(item.partition("=")[::2] for item in inputs))
    return tell(
        campaign(seeds, plans=[plan], evaluate=played, inputs=given, permissions=dict.fromkeys(changes, 2))
    )


def played(value: Json, scope: Mapping[str, Json]) -> Json:
    """The value of a template among made-up results; where it has none, a plausible one."""
    try:
        return evaluate(value, scope)
    except CannotEvaluate:
        return True if isinstance(value, str) and "{{" not in value else value


def tell(told: Campaign) -> int:
    """Print a campaign; returns the exit code."""
    outcomes = ", ".join(f"{count} {status}" for status, count in told.outcomes.most_common())
    click.echo(f"{told.seeds} lives, {sum(told.outcomes.values())} runs: {outcomes or 'none'}")
    commands = sum(count for name, count in told.seen.items() if ":" not in name)
    refusals = sum(count for name, count in told.seen.items() if ":" in name)
    click.echo(f"{commands} commands carried out, {refusals} refused")
    for seed, text in told.broken.items():
        click.echo(click.style(f"seed {seed}: {text}", fg="red"))
    if not told.broken:
        click.echo(click.style("every invariant held", fg="green"))
    return 1 if told.broken else 0


@click.command()
@click.option("--seed", type=int, help="Live this one life only.")
@click.option("--seeds", default=2_000, show_default=True, type=click.IntRange(1), help="How many lives.")
def main(seed: int | None, seeds: int) -> None:
    """Simulate random plans in a world that goes wrong, and check the invariants of ARCHITECTURE.md."""
    logging.disable(logging.CRITICAL)  # Simulated disasters are not news.
    raise SystemExit(tell(campaign([seed] if seed is not None else range(seeds), stop_at=5)))


if __name__ == "__main__":
    main()
