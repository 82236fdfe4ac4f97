"""`mn deployment`: services that live on, version after version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from headway_cli.mn.app import Mn
from headway_cli.mn.group import Group
from headway_cli.mn.values import DURATION, moment_ms
from headway_cli.output import ago, card, clean, columns, flat, moment, paint

STRATEGIES = ("rolling", "canary", "blue-green")
STATUSES = ("running", "successful", "awaiting_promotion", "version_recorded", "paused", "failed")

reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")


def policy_options(command: Any) -> Any:
    """What deploy and update are told about how to go from one version to the next."""
    for option in reversed(
        [
            click.option("--strategy", type=click.Choice(STRATEGIES), help="How to go to the new version."),
            click.option("--canary", type=click.IntRange(0), help="How many agents try it first."),
            click.option("--max-parallel", type=click.IntRange(1), help="How many change at once."),
            click.option("--auto-promote", is_flag=True, help="Promote a candidate that is well."),
            click.option("--auto-revert", is_flag=True, help="Keep the stable version if it fails."),
            click.option("--healthy-after", type=DURATION, help="How long it must be well."),
            click.option("--deadline", type=DURATION, help="How long it may take to become well."),
            click.option("--wait", is_flag=True, help="Wait until it is well, or has failed."),
            click.option(
                "--timeout", type=DURATION, default="10m", show_default=True, help="How long --wait waits."
            ),
        ]
    ):
        command = option(command)
    return command


@click.group(cls=Group, aliases={"status": "get"})
def deployment() -> None:
    """Deploy services, and go from version to version."""


@deployment.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--key", default="", help="The name that stays.  [default: what the manifest says]")
@policy_options
@click.pass_obj
def deploy(app: Mn, /, path: Path, key: str, wait: bool, timeout: int, **policy: Any) -> None:
    """Deploy the bundle PATH under a key; a key that exists gets its next version."""
    from headway_cli.mn.bundles import read

    bundle, engine = read(path), app.patient(timeout / 1_000) if wait else app.engine
    found = engine.ask(
        engine.client.deploy_job, bundle.manifest_json, bundle.payloads, key, _policy(policy), wait
    )
    app.done(found, _begun(found))


@deployment.command()
@click.argument("key")
@click.argument("path", type=click.Path(path_type=Path))
@policy_options
@click.pass_obj
def update(app: Mn, /, key: str, path: Path, wait: bool, timeout: int, **policy: Any) -> None:
    """Deploy the bundle PATH as the next version of KEY."""
    from headway_cli.mn.bundles import read

    bundle, engine = read(path), app.patient(timeout / 1_000) if wait else app.engine
    found = engine.ask(
        engine.client.update_deployment, key, bundle.manifest_json, bundle.payloads, _policy(policy), wait
    )
    app.done(found, _begun(found))


@deployment.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@click.pass_obj
def list_(app: Mn, status: str | None) -> None:
    """List the deployments."""
    app.show(app.engine.ask(app.engine.client.list_deployments, status=status), _list)


@deployment.command()
@click.argument("key")
@click.pass_obj
def get(app: Mn, key: str) -> None:
    """Show a deployment, by KEY or id, with its versions and what happened."""
    app.show(app.engine.ask(app.engine.client.get_deployment, key), _deployment)


@deployment.command()
@click.argument("key")
@click.pass_obj
def promote(app: Mn, key: str) -> None:
    """Make the candidate the stable version."""
    _changed(app, app.engine.ask(app.engine.client.promote_deployment, key))


@deployment.command()
@click.argument("key")
@click.option("--version", default="", metavar="N", help="To this version.  [default: the stable one before]")
@click.option("--tag", default="", help="To the version with this tag.")
@reason_option
@click.pass_obj
def rollback(app: Mn, key: str, version: str, tag: str, reason: str) -> None:
    """Go back to a version that was."""
    found = app.engine.ask(app.engine.client.rollback_deployment, key, version, tag, reason)
    _changed(app, found)


@deployment.command()
@click.argument("key")
@reason_option
@click.pass_obj
def pause(app: Mn, key: str, reason: str) -> None:
    """Mark a deployment as paused; what runs goes on."""
    _changed(app, app.engine.ask(app.engine.client.pause_deployment, key, reason))


@deployment.command()
@click.argument("key")
@reason_option
@click.pass_obj
def resume(app: Mn, key: str, reason: str) -> None:
    """Mark a deployment as no longer paused."""
    _changed(app, app.engine.ask(app.engine.client.resume_deployment, key, reason))


@deployment.command()
@click.argument("key")
@reason_option
@click.pass_obj
def fail(app: Mn, key: str, reason: str) -> None:
    """Mark a deployment as failed."""
    _changed(app, app.engine.ask(app.engine.client.fail_deployment, key, reason))


def _policy(given: dict[str, Any]) -> dict[str, Any]:
    """The update policy that was asked for; what was not is the manifest's, or the engine's default."""
    names = {"healthy_after": "min_healthy_ms", "deadline": "healthy_deadline_ms"}
    return {names.get(name, name): value for name, value in given.items() if value not in (None, False)}


def _begun(found: Any) -> str:
    key = clean(str(found.get("deployment_key", "")))
    version, job = flat(found.get("version")), flat(found.get("job_id"))
    return f"{key} version {version} is {paint(str(found.get('status', '')))}.  Job ID: {job}"


def _changed(app: Mn, found: Any) -> None:
    key = clean(str(found.get("deployment_key", "")))
    current = (
        f"  Version {flat(found['current_version'])} is current." if found.get("current_version") else ""
    )
    app.done(found, f"{key} is {paint(str(found.get('status', '')))}.{current}")


def _list(found: Any) -> list[str]:
    rows = [
        (
            clean(str(one.get("deployment_key", ""))),
            paint(str(one.get("status", ""))),
            flat(one.get("current_version")),
            flat(one.get("stable_version")),
            clean(str(one.get("strategy") or "-")),
            ago(moment_ms(one.get("updated_at"))),
            flat(one.get("current_job_id")),
        )
        for one in found.get("data") or []
    ]
    return columns(("KEY", "STATUS", "CURRENT", "STABLE", "STRATEGY", "CHANGED", "JOB"), rows)


def _deployment(one: Any) -> Iterator[str]:
    health = one.get("health") or ""
    health = health.get("status", "") if isinstance(health, dict) else health
    yield from card(
        [
            ("key", clean(str(one.get("deployment_key", "")))),
            ("id", clean(str(one.get("deployment_id") or ""))),
            ("status", paint(str(one.get("status", "")))),
            ("about", clean(str(one.get("description") or ""))),
            ("strategy", clean(str(one.get("strategy") or ""))),
            ("current", _version(one, "current")),
            ("stable", _version(one, "stable")),
            ("candidate", flat(one["candidate_job_id"]) if one.get("candidate_job_id") else ""),
            ("health", paint(str(health))),
            ("created", moment(moment_ms(one.get("created_at")))),
            ("changed", moment(moment_ms(one.get("updated_at")))),
        ]
    )
    versions = [
        (
            flat(each.get("version")),
            paint(str(each.get("status") or "-")),
            flat(each.get("tag")),
            ago(moment_ms(each.get("created_at"))),
            flat(each.get("job_id")),
        )
        for each in one.get("versions") or []
    ]
    yield ""
    yield from columns(("VERSION", "STATUS", "TAG", "MADE", "JOB"), versions)
    events = one.get("events") or []
    if events:
        rows = [(moment(moment_ms(each.get("timestamp"))), _told(each)) for each in events]
        yield ""
        yield from columns(("WHEN", "WHAT"), rows)


def _version(one: Any, which: str) -> str:
    version, job = one.get(f"{which}_version"), one.get(f"{which}_job_id")
    return " ".join(flat(each) for each in (version, job) if each)


def _told(event: Any) -> str:
    kept = {name: value for name, value in event.items() if name not in ("type", "timestamp")}
    shown = "  ".join(f"{clean(name)}={flat(value)}" for name, value in kept.items() if value)
    return f"{clean(str(event.get('type', '')))}  {shown}".rstrip()
