"""Services, ports, drains and operations through the public client, with the engine killed in the middle."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.jobs.house import WITHIN_S, Jobs, jobs, messages
from tests.waiting import until


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Jobs]:
    with jobs(tmp_path) as house:
        yield house


def node_of(house: Jobs) -> str:
    return str(json.loads(house.client.get_system_summary())["nodes"][0]["name"])


def refusal(house: Jobs, manifest: dict[str, Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        house.submit(manifest)
    return caught.value


def drain_of(house: Jobs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.client.get_node_drain_status(node_of(house)))
    return found


def resolved(house: Jobs, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(house.client.resolve_service(name))["services"]
    return found


def test_a_service_is_there_as_long_as_its_job_whatever_happens_to_the_engine(house: Jobs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        api = {
            **house.executor("api", hold=True, complete_run=True),
            "resources": {"ports": [{"label": "web"}, {"label": "admin", "port": 19_399}]},
            "services": [
                {
                    "name": "orders",
                    "port": "${port.web}",
                    "checks": [{"type": "tcp", "port": port, "interval_ms": 500}],
                }
            ],
        }
        manifest = messages([api], type="service")
        job_id = house.submit(manifest)
        house.until_held("api")
        [before] = until(lambda: resolved(house, "orders"), within_s=WITHIN_S)

        house.kill_engine()

        [after] = until(lambda: resolved(house, "orders"), within_s=WITHIN_S)
        assert (
            (after["id"], after["port"]) == (before["id"], before["port"]) == (f"{job_id}:api:orders", 20_000)
        )
        refused = refusal(house, manifest)
        assert refused.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "requirements_not_met" in str(refused.details())
        assert "port 19399/tcp belongs to another agent" in str(refused.details())
        house.client.cancel_job(job_id)
        until(lambda: not resolved(house, "orders"), within_s=WITHIN_S)
        assert json.loads(house.client.list_services())["services"] == []
        again = until(lambda: _submitted(house, manifest), within_s=WITHIN_S)
        until(lambda: resolved(house, "orders"), within_s=WITHIN_S)
        house.client.cancel_job(again)


def _submitted(house: Jobs, manifest: dict[str, Any]) -> str:
    """The id of a job, or "" while what it asks for is not free yet."""
    try:
        return house.submit(manifest)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        return ""


def test_a_drain_outlives_the_engine_and_ends_with_its_last_job(house: Jobs) -> None:
    node = node_of(house)
    job_id = house.submit(messages([house.executor("a", hold=True, complete_run=True)]))
    house.until_held("a")
    begun = json.loads(house.client.drain_node(node, reason="new disk"))
    assert begun["status"] == "draining"
    assert [action["status"] for action in begun["actions"]] == ["waiting"]

    house.kill_engine()

    assert drain_of(house)["status"] == "draining"
    assert "draining" in str(refusal(house, messages([house.executor("b")])).details())
    house.go()
    house.ended(job_id)
    until(lambda: drain_of(house)["drain"]["status"] == "complete", within_s=WITHIN_S)
    assert (drain_of(house)["status"], drain_of(house)["drain"]["reason"]) == ("maintenance", "new disk")
    assert house.kinds("__cluster__")[0] == "node_drain_started"
    assert house.kinds("__cluster__")[-1] == "node_drain_completed"
    house.client.cancel_node_drain(node, mark_eligible=True)
    house.ended(house.submit(messages([house.executor("c", complete_run=True)])))


def test_an_operation_that_the_engine_did_not_finish_is_finished_by_the_next(house: Jobs) -> None:
    ids = [house.submit(messages([house.executor(f"a{i}", hold=True)])) for i in range(8)]
    started = json.loads(house.client.start_operation("cancel_all_jobs"))

    house.kill_engine()

    told = house.client.stream_operation_events(started["operation_id"], follow=True, timeout=WITHIN_S)
    events = [json.loads(text) for text in told]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    done = {event["item_id"]: event["status"] for event in events if event["type"] == "item_completed"}
    assert set(done) == set(ids)
    assert set(done.values()) <= {"cancelled", "ignored"}
    assert json.loads(house.client.get_operation(started["operation_id"]))["status"] == "completed"
    assert {house.status(job_id) for job_id in ids} == {"cancelled"}


def test_a_job_gets_the_device_that_the_operator_has_named_and_the_next_one_waits_its_turn(
    tmp_path: Path,
) -> None:
    machine = {
        "devices": [{"id": "gpu-a", "vendor": "nvidia", "memory_mb": 16_000, "index": 3}],
        "capabilities": ["printer"],
    }
    asks = {
        "resources": {"gpu": 1},
        "constraints": [{"attribute": "node.capabilities", "operator": "contains", "value": "printer"}],
    }
    with jobs(tmp_path, config={"mirrorneuron": machine}) as house:
        given = ["$MN_ALLOCATED_DEVICE_IDS", "$CUDA_VISIBLE_DEVICES"]
        bundle = messages([house.executor("a", hold=True, complete_run=given) | asks], "")
        job_id = house.submit(bundle)
        house.until_held("a")

        assert "1 gpu asked, 0 free" in (refusal(house, bundle).details() or "")

        house.kill_engine()
        house.go()
        assert house.ended(job_id)["job"]["result"]["output"] == ["gpu-a", "3"]
        assert house.ended(house.submit(bundle))["job"]["status"] == "completed"
