"""Nodes, resources, services, deployments, schedules and events: what is asked, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packages.cli.tests.jobs import at, event
from tests.cli.mn.stage import NODE, Playing
from tests.cli.operators import Author

SUMMARY = {
    "nodes": [
        {
            "name": NODE,
            "self": True,
            "status": "draining",
            "scheduling_eligible": False,
            "cpu_cores": 8,
            "memory_gb": 32,
            "gpu_count": 1,
            "executor_pools": {"default": {"capacity": 4, "in_use": 3, "available": 1, "queued": 2}},
        }
    ],
    "jobs": [],
    "metrics": {},
}
SCHEDULE = {
    "schedule_id": "sch-1",
    "kind": "periodic",
    "name": "nightly",
    "status": "active",
    "crons": ["0 6 * * *"],
    "timezone": "Europe/Berlin",
    "next_run_at": at(60_000),
    "counters": {"dispatched": 3, "missed": 1},
    "dispatches": [{"job_id": "j-3", "status": "submitted", "reason": "periodic", "submitted_at": at(0)}],
}
DEPLOYMENT = {
    "deployment_id": "dep_api_2",
    "deployment_key": "api",
    "status": "awaiting_promotion",
    "strategy": "canary",
    "current_version": "2",
    "current_job_id": "j-2",
    "stable_version": "1",
    "stable_job_id": "j-1",
    "job_id": "j-2",
    "version": "2",
    "versions": [
        {"version": "1", "job_id": "j-1", "status": "stable", "created_at": at(0)},
        {"version": "2", "job_id": "j-2", "status": "candidate", "tag": "new", "created_at": at(9)},
    ],
    "events": [{"type": "deployment_started", "timestamp": at(0), "version": "2"}],
}
SERVICE = {
    "name": "llm",
    "status": "warning",
    "address": "127.0.0.1",
    "port": 11434,
    "tags": ["gpu"],
    "job_id": "j-1",
    "health": {"checks": [{"name": "up", "type": "tcp", "status": "critical", "message": "refused"}]},
}


def last(play: Playing, name: str) -> dict[str, Any]:
    """What the engine was asked last under this name."""
    return next(given for called, given in reversed(play.stage.calls) if called == name)


# Nodes and resources ------------------------------------------------------------------------------


def test_nodes_are_listed_with_what_they_have_and_how_busy_they_are(play: Playing, author: Author) -> None:
    play.stage.answers["get_system_summary"] = SUMMARY

    shown = author.run("node", "list").out

    assert f"{NODE} *" in shown and "draining" in shown
    assert "default 3/4 (+2 waiting)" in shown


@pytest.mark.parametrize("named", [(), (NODE,)])
def test_without_a_name_a_command_is_about_the_node_that_answers(
    play: Playing, author: Author, named: tuple[str, ...]
) -> None:
    play.stage.answers["get_system_summary"] = SUMMARY
    drain = {"status": "draining", "deadline_at": at(0), "actions": [{"job_id": "j", "status": "waiting"}]}
    status = {"node": NODE, "status": "draining", "scheduling_eligible": False, "drain": drain}
    play.stage.answers["get_node_drain_status"] = status

    shown = author.run("node", "status", *named).out

    assert f"node        {NODE}" in shown
    assert "takes jobs  no" in shown and "j    waiting" in shown


def test_a_drain_is_followed_until_only_waiting_is_left(play: Playing, author: Author) -> None:
    told = [
        event("operation_started"),
        event("item_completed", item_id="a", status="ignored", error="it belongs to the node"),
        event("item_deferred", item_id="b", error="it still runs"),
        event("operation_deferred"),
    ]
    play.operation("op-1", told)
    play.stage.answers["get_operation"] = {
        "operation_id": "op-1",
        "kind": "drain_node",
        "status": "running",
        "counters": {"total": 2, "succeeded": 1, "deferred": 1},
    }

    shown = author.run("node", "drain", NODE, "--reason", "new disk", "--deadline", "45m", "--dry-run").out

    asked = last(play, "start_operation")
    assert asked["kind"] == "drain_node"
    assert asked["options"] == {
        "node_name": NODE,
        "reason": "new disk",
        "deadline_ms": 2_700_000,
        "dry_run": True,
        "ignore_system_jobs": True,
    }
    assert "a  ignored  it belongs to the node\nb  waiting  it still runs\n" in shown
    assert "mn node status" in shown


def test_a_node_goes_out_and_comes_back(play: Playing, author: Author) -> None:
    answer = {"node": NODE, "status": "healthy", "scheduling_eligible": True}
    play.stage.answers |= {"set_node_maintenance": answer, "cancel_node_drain": answer}

    author.run("node", "maintenance", NODE, "--enable", "--reason", "x")
    assert f"{NODE} is healthy.  It takes jobs." in author.run("node", "maintenance", NODE, "--disable").out
    assert "It takes jobs." in author.run("node", "undrain", NODE, "--mark-eligible").out


def test_limits_are_set_in_percent(play: Playing, author: Author) -> None:
    found = {"limits": {"cpu": 50}, "totals": {"cpu_cores": 8}, "usable": {"cpu_cores": 4.0}, "nodes": []}
    play.stage.answers |= {"set_resource": found, "get_resource": found}

    shown = author.run("resource", "set", "--cpu", "50").out

    assert ["cpu", "8", "cores", "50%", "4", "cores"] in [line.split() for line in shown.splitlines()]
    assert author.run("resource", "list").out == shown
    assert "at least one of" in author.run("resource", "set", code=2).err
    assert "'60' is not one of" in author.run("resource", "set", "--cpu", "60", code=2).err


# Services -----------------------------------------------------------------------------------------


def test_services_are_listed_and_resolved(play: Playing, author: Author) -> None:
    play.stage.answers |= {"list_services": [SERVICE], "resolve_service": []}

    shown = author.run("service", "list", "--tag", "gpu", "--passing-only").out
    nowhere = author.run("service", "resolve", "llm", "--all", code=6)

    assert "127.0.0.1:11434" in shown and "up: refused" in shown
    assert last(play, "list_services")["query"] == {"tags": ["gpu"], "passing_only": True}
    assert last(play, "resolve_service")["query"] == {"passing_only": False}
    assert nowhere.out == "none\n"


def test_what_a_bundle_requires_is_checked_with_its_configuration(
    play: Playing, author: Author, bundle: Path
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["required_services"] = [{"name": "llm", "address": "${config.llm.host}", "x": "${config.no}"}]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / "config").mkdir()
    (bundle / "config" / "default.json").write_text('{"llm": {"host": "10.0.0.9"}}')
    result = {"name": "llm", "required": True, "ok": False, "status": "critical"}
    play.stage.answers["check_services"] = {"ok": False, "errors": ["llm is critical"], "results": [result]}

    done = author.run("service", "check", str(bundle), code=6)

    assert last(play, "check_services")["services"] == [
        {"name": "llm", "address": "10.0.0.9", "x": "${config.no}"}
    ]
    assert "failed" in done.out and "llm is critical" in done.out


# Deployments --------------------------------------------------------------------------------------


def test_a_bundle_is_deployed_with_the_policy_that_was_asked_for(
    play: Playing, author: Author, bundle: Path
) -> None:
    play.stage.answers |= {"deploy_job": DEPLOYMENT, "update_deployment": DEPLOYMENT}
    words = ("--strategy", "canary", "--canary", "1", "--auto-promote", "--healthy-after", "5s", "--wait")

    shown = author.run("deployment", "deploy", str(bundle), "--key", "api", *words).out
    author.run("deployment", "update", "api", str(bundle))

    assert shown == "api version 2 is awaiting promotion.  Job ID: j-2\n"
    asked = last(play, "deploy_job")
    assert asked["deployment_key"] == "api" and asked["wait"] is True
    assert asked["update_policy"] == {
        "strategy": "canary",
        "canary": 1,
        "auto_promote": True,
        "min_healthy_ms": 5_000,
    }
    assert 500_000 < asked["wait_ms_max"] <= 600_000, "waiting has more time than other calls"
    assert last(play, "update_deployment")["update_policy"] == {}


@pytest.mark.parametrize("verb", ["get", "status"])
def test_a_deployment_is_shown_with_its_versions(play: Playing, author: Author, verb: str) -> None:
    play.stage.answers |= {"get_deployment": DEPLOYMENT, "list_deployments": [DEPLOYMENT]}

    shown = author.run("deployment", verb, "api").out

    assert "current   2 j-2" in shown and "stable    1 j-1" in shown
    assert "deployment_started  version=2" in shown
    assert "awaiting promotion" in author.run("deployment", "list", "--status", "awaiting_promotion").out
    assert last(play, "list_deployments")["query"] == {"status": "awaiting_promotion"}


def test_a_deployment_is_promoted_rolled_back_paused_resumed_and_failed(
    play: Playing, author: Author
) -> None:
    verbs = ("promote", "rollback", "pause", "resume", "fail")
    play.stage.answers |= {f"{verb}_deployment": {**DEPLOYMENT, "status": "successful"} for verb in verbs}

    for verb in verbs:
        assert "api is successful.  Version 2 is current." in author.run("deployment", verb, "api").out
    author.run("deployment", "rollback", "api", "--version", "1", "--reason", "slow")

    asked = last(play, "rollback_deployment")
    assert (asked["version"], asked["reason"]) == ("1", "slow")


# Schedules, triggers, events ----------------------------------------------------------------------


def test_a_schedule_is_made_by_times_or_by_delay_or_by_the_manifest(
    play: Playing, author: Author, bundle: Path
) -> None:
    play.stage.answers["create_schedule"] = SCHEDULE
    path = str(bundle)

    words = ("--cron", "0 6 * * *", "--timezone", "Europe/Berlin")
    shown = author.run("schedule", "create", path, *words).out
    periodic = last(play, "create_schedule")["schedule"]
    author.run("schedule", "create", path, "--in", "10m", "--name", "soon")
    delayed = last(play, "create_schedule")["schedule"]
    author.run("schedule", "create", path)
    own = last(play, "create_schedule")["schedule"]

    assert "Schedule made (periodic).  Schedule ID: sch-1" in shown
    assert (periodic["kind"], periodic["crons"], periodic["timezone"]) == (
        "periodic", ["0 6 * * *"], "Europe/Berlin"
    )  # fmt: skip
    assert (delayed["kind"], delayed["delay_ms"], delayed["name"]) == ("delayed", 600_000, "soon")
    assert own == {}
    assert (
        "choose one"
        in author.run("schedule", "create", path, "--in", "1m", "--cron", "* * * * *", code=2).err
    )


def test_what_is_said_of_a_schedule_counts_however_its_times_are_given(
    play: Playing, author: Author, bundle: Path
) -> None:
    play.stage.answers["create_schedule"] = SCHEDULE
    rules = (
        "--timezone",
        "Europe/Berlin",
        "--missed-policy",
        "catchup_one",
        "--window",
        "1h",
        "--allow-overlap",
    )

    author.run("schedule", "create", str(bundle), "--at", "2030-01-01T08:00", *rules)
    once = last(play, "create_schedule")["schedule"]
    refused = author.run("schedule", "create", str(bundle), *rules, code=2).err

    assert (once["kind"], once["run_at"], once["timezone"]) == (
        "delayed",
        "2030-01-01T08:00",
        "Europe/Berlin",
    )
    assert (once["missed_policy"], once["prohibit_overlap"]) == ("catchup_one", False)
    assert once["window"]["duration_ms"] == 3_600_000 and "crons" not in once
    assert (
        "--timezone, --missed-policy, --allow-overlap, --window cannot change the manifest's own" in refused
    )


def test_schedules_are_listed_shown_changed_and_ended(play: Playing, author: Author) -> None:
    play.stage.answers |= {
        "list_schedules": [SCHEDULE],
        "get_schedule": SCHEDULE,
        "update_schedule": SCHEDULE,
        "pause_schedule": {**SCHEDULE, "status": "paused"},
        "resume_schedule": SCHEDULE,
        "delete_schedule": {"schedule_id": "sch-1", "status": "deleted"},
    }

    listed = author.run("schedule", "list", "--kind", "periodic").out
    shown = author.run("schedule", "get", "sch-1").out
    author.run("schedule", "update", "sch-1", "--cron", "0 7 * * *", "--reason", "later")

    assert "0 6 * * * Europe/Berlin" in listed and "nightly" in listed
    assert "3 dispatched, 1 missed" in shown and "j-3" in shown
    assert last(play, "update_schedule")["attrs"] == {"crons": ["0 7 * * *"]}
    assert author.run("schedule", "pause", "sch-1").out == "sch-1 is paused.\n"
    assert author.run("schedule", "resume", "sch-1").out == "sch-1 is active.\n"
    assert author.run("schedule", "delete", "sch-1").out == "sch-1 is deleted.\n"
    assert "say what to change" in author.run("schedule", "update", "sch-1", code=2).err


@pytest.mark.parametrize("verb", ["dispatch", "run-now"])
def test_a_schedule_is_dispatched_now(play: Playing, author: Author, verb: str) -> None:
    started = {"dispatched": 1, "schedule_id": "sch-1", "job_id": "j-9", "status": "submitted"}
    play.stage.answers["dispatch_schedule"] = started

    assert author.run("schedule", verb, "sch-1", "--payload-json", '{"manual": true}').out == (
        "submitted  Job ID: j-9\n"
    )
    assert last(play, "dispatch_schedule")["payload"] == {"manual": True}
    play.stage.answers["dispatch_schedule"] = {"blocked": 1, "status": "blocked", "schedule_id": "sch-1"}
    assert "blocked" in author.run("schedule", verb, "sch-1", code=6).out


@pytest.mark.parametrize("group", ["event", "trigger"])
def test_an_event_is_emitted(play: Playing, author: Author, group: str) -> None:
    answer = {"checked": 2, "dispatched": 1, "event_id": "ev-1", "event": {}}
    play.stage.answers["emit_trigger_event"] = answer

    shown = author.run(group, "emit", "file_uploaded", "--payload-json", '{"path": "/data/eval.jsonl"}').out

    assert shown == "Event emitted.  Event ID: ev-1  (2 checked, 1 dispatched)\n"
    asked = last(play, "emit_trigger_event")
    assert (asked["event_type"], asked["payload"], asked["source"]) == (
        "file_uploaded", {"path": "/data/eval.jsonl"}, "cli"
    )  # fmt: skip


def test_triggers_are_schedules_that_wait_for_events(play: Playing, author: Author, bundle: Path) -> None:
    trigger = {**SCHEDULE, "kind": "event", "trigger": {"event_type": "file_uploaded"}, "crons": []}
    events = [{"event_id": "ev-1", "event_type": "file_uploaded", "created_at": at(0), "payload": {"n": 1}}]
    play.stage.answers |= {
        "create_schedule": trigger,
        "list_schedules": [trigger],
        "list_trigger_events": events,
    }

    author.run(
        "trigger", "create", str(bundle), "--event", "file_uploaded", "--filter-json", '{"path": "/d"}'
    )
    listed = author.run("trigger", "list").out

    spec = last(play, "create_schedule")["schedule"]
    assert spec["trigger"] == {"event_type": "file_uploaded", "filters": {"path": "/d"}}
    assert last(play, "list_schedules")["query"] == {"kind": "event"}
    assert "on file_uploaded" in listed
    assert '{"n":1}' in author.run("event", "list").out


def test_payloads_that_are_no_json_are_refused(play: Playing, author: Author) -> None:
    done = author.run("event", "emit", "x", "--payload-json", "{", code=2)

    assert "it is not JSON" in done.err
    assert not play.stage.calls
