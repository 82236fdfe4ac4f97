"""The simulator as a tool: `headway sim PATH` for one's own, `make sim` for random plans."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
from headway_wire.bundle import bundle_digest, parse_manifest, read_bundle
from headway_wire.errors import Invalid
from headway_wire.manifest import read

from headway.bundles import plan_of
from headway.core.plan import Json, Plan
from headway.core.world import CannotEvaluate
from headway.runbooks import bind_inputs, compile, evaluate, parse
from headway.simulation.campaign import Campaign, campaign
from headway.simulation.life import slots_of


def simulate(path: Path, *, seeds: Iterable[int], inputs: Sequence[str], changes: Sequence[str] = ()) -> int:
    """Live through `seeds` with a runbook, or the bundle in a folder or of a manifest file, and print what
    that came to; 1 when an invariant broke.

    Actions and workers are played: what they answer is made up, and a template that finds nothing in it has
    the value it finds in an empty world.  inputs: ``key=value``, of a runbook.  changes: actions that count
    as MODIFY, since no agent is asked.  Raises Invalid for a runbook, bundle or input that is wrong.
    """
    logging.disable(logging.CRITICAL)  # Simulated disasters are not news.
    read_plan = _of_bundle if path.is_dir() or path.suffix == ".json" else _of_runbook
    plan, given = read_plan(path, inputs)
    permissions = dict.fromkeys(changes, 2)
    return tell(campaign(seeds, plans=[plan], evaluate=played, inputs=given, permissions=permissions))


def _of_runbook(path: Path, inputs: Sequence[str]) -> tuple[Plan, dict[str, Json]]:
    plan = compile(parse(path.read_bytes(), filename=str(path)))
    return plan, bind_inputs(plan, dict(item.partition("=")[::2] for item in inputs))


def _of_bundle(path: Path, inputs: Sequence[str]) -> tuple[Plan, dict[str, Json]]:
    if inputs:
        raise Invalid("a bundle brings its inputs with it: change them in its manifest")
    bundle = read_bundle(path)
    manifest = read(parse_manifest(bundle.manifest_json))
    if not manifest.nodes:
        raise Invalid(
            f"'{path}' has no agents to simulate; one that is written in Python is compiled first: "
            "python -m mn_blueprint_support.python_workflow_bundle_cli"
        )
    digest = bundle_digest(bundle.manifest_json, bundle.payloads)
    plan = plan_of(manifest, digest, capacity=lambda pool: slots_of(f"executor/{pool}"))
    return plan, {"initial_inputs": {agent: list(bodies) for agent, bodies in manifest.seeds.items()}}


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
