"""Policies: their defaults by type of job and recovery mode, and nodes that differ from their job."""

from __future__ import annotations

from typing import Any

import pytest
from headway_wire.manifest import Constraint, Policies, Reschedule, Restart, Scheduler, read
from headway_wire.manifest.terms import Json

from packages.wire.tests.manifest.manifests import mistakes, seed_era, worker

BATCH = Restart(3, 86_400_000, 1_000, "exponential", 30_000, "fail")
SERVICE = Restart(3, 600_000, 1_000, "exponential", 30_000, "fail")


def policies(given: dict[str, Json], **changes: Json) -> Policies:
    return read(seed_era(policies=given, **changes)).policies


@pytest.mark.parametrize(
    ("job_type", "mode", "restart", "on_exhaustion"),
    [
        ("batch", "auto", BATCH, "fail"),
        ("batch", "local_restart", BATCH, "fail"),
        ("sysbatch", "auto", BATCH, "fail"),
        ("service", "auto", SERVICE, "fail"),
        ("service", "local_restart", SERVICE, "delay"),
        ("system", "local_restart", SERVICE, "delay"),
    ],
)
def test_restarts_by_type_and_mode(job_type: str, mode: str, restart: Restart, on_exhaustion: str) -> None:
    found = policies({"recovery_mode": mode, "scheduler": {"job_type": job_type}}).restart

    assert (found.attempts, found.interval_ms, found.mode) == (3, restart.interval_ms, on_exhaustion)
    assert (found.delay_ms, found.delay_function, found.max_delay_ms) == (1_000, "exponential", 30_000)


def test_a_batch_job_is_placed_anew_once_a_day_when_a_cluster_recovers_it() -> None:
    found = policies({"recovery_mode": "cluster_recover"}).reschedule

    assert found == Reschedule(True, False, 1, 86_400_000, 5_000, "constant", 5_000)


def test_a_service_is_placed_anew_without_end_when_a_cluster_recovers_it() -> None:
    found = policies({"recovery_mode": "cluster_recover"}, type="service").reschedule

    assert (found.enabled, found.unlimited) == (True, True)
    assert (found.delay_ms, found.delay_function, found.max_delay_ms) == (5_000, "exponential", 300_000)


@pytest.mark.parametrize("mode", ["auto", "local_restart", "manual_recover"])
def test_nothing_is_placed_anew_in_other_modes(mode: str) -> None:
    assert not policies({"recovery_mode": mode}).reschedule.enabled


def test_who_says_how_to_place_anew_wants_it_done() -> None:
    assert policies({"reschedule": {"attempts": 2}}).reschedule.enabled
    assert not policies({"reschedule": {"attempts": 2, "enabled": False}}).reschedule.enabled
    assert not policies({"recovery_mode": "manual_recover", "reschedule": {"attempts": 2}}).reschedule.enabled


def test_the_old_name_of_restart_attempts_counts_until_the_new_one_is_there() -> None:
    assert policies({"max_agent_restart_attempts": 7}).restart.attempts == 7
    assert policies({"max_agent_restart_attempts": 7, "restart": {"attempts": 1}}).restart.attempts == 1


def test_a_node_differs_from_its_job_key_by_key() -> None:
    job = {
        "restart": {"attempts": 5, "delay_function": "fibonacci"},
        "scheduler": {"strategy": "spread", "constraints": [{"attribute": "a", "operator": "=", "value": 1}]},
        "update": {"strategy": "canary"},
        "stream_mode": "live",
    }
    own = {"restart": {"attempts": 0}, "scheduler": {"preferred_node": "n"}}
    constraints = [{"attribute": "node.name", "operator": "==", "value": "here"}]
    nodes = [worker("first", policies=own, constraints=constraints), worker("second")]

    manifest = read(seed_era(nodes=nodes, policies=job))
    first, second = manifest.by_id["first"].policies, manifest.by_id["second"].policies

    assert (first.restart.attempts, first.restart.delay_function) == (0, "fibonacci")
    asked = (Constraint("node.name", "==", "here"), Constraint("a", "==", 1))
    assert first.scheduler == Scheduler("spread", "n", asked)
    assert second == manifest.policies
    assert (second.update, second.stream_mode) == ({"strategy": "canary"}, "live")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"restart": {"delay_function": "linear"}}, "constant, exponential or fibonacci"),
        ({"restart": {"mode": "again"}}, "fail or delay"),
        ({"restart": []}, "policies.restart must be an object"),
        ({"reschedule": {"unlimited": 1}}, "policies.reschedule.unlimited must be true or false"),
        ({"scheduler": {"job_type": "cron"}}, "batch, service, system or sysbatch"),
        ({"scheduler": {"constraints": [{"operator": "=="}]}}, "constraints[0].attribute is required"),
        ({"scheduler": {"affinities": [{"attribute": "a", "operator": "like"}]}}, "affinities[0].operator"),
        ({"backpressure": {"max_queue_depth": 0}}, "policies.backpressure.max_queue_depth"),
        ([], "policies must be an object"),
    ],
)
def test_policies_of_the_wrong_kind_are_told(given: Any, message: str) -> None:
    [told] = mistakes(seed_era(policies=given))

    assert message in told
