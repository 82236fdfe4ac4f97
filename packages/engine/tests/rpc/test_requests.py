"""What reaches the engine of a call, and what of its answer reaches the caller."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import grpc
import pytest
from headway_wire.errors import (
    Broken,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    Throttled,
    TimedOut,
    Unavailable,
)
from headway_wire.mirrorneuron import cluster_v1_pb2 as cluster
from headway_wire.mirrorneuron import job_v1_pb2 as job
from headway_wire.mirrorneuron import operations_v1_pb2 as operations
from headway_wire.mirrorneuron.calls import (
    CLUSTER_V1,
    JOB_V1,
    JOB_V2,
    MESSAGE_BYTES_MAX,
    OPERATIONS_V1,
    RPCS,
)

from packages.engine.tests.rpc.runtime import Served, outcome

BUNDLE: dict[str, Any] = {"manifest_json": '{"graph_id": "g"}', "payloads": {"worker/w.py": b"\x00\xff"}}
UNCALLED = [
    "ExportJobBackup", "RestoreJobBackup", "NetworkHandshake", "AddNode", "RemoveNode", "PrepareRuntimeModel",
    "SyncLiteLLMGateway", "RemoveLiteLLMGatewayRoute", "PrepareDockerWorker", "CleanupDockerWorker",
]  # fmt: skip
"""The calls that this engine does not offer."""


def ask(served: Served, path: str, request: Any, *, timeout: float | None = 10) -> Any:
    """The response to a call."""
    with grpc.insecure_channel(served.target) as channel:
        call: Any = channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=RPCS[path].response.FromString,
        )
        return call(request, timeout=timeout)


JOB_CALLS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("SubmitJob", BUNDLE, "submit", BUNDLE),
    ("ListJobs", {"limit": -3, "include_terminal": True}, "list", {"limit": 100, "include_terminal": True}),
    ("ListJobs", {"limit": 7}, "list", {"limit": 7, "include_terminal": False}),
    ("CancelAllJobs", {}, "cancel_all", {}),
    ("GetDeployment", {"id_or_key": "k"}, "get_deployment", {"id_or_key": "k"}),
    (
        "ListDeployments",
        {"query_json": '{"status": "failed"}'},
        "list_deployments",
        {"query": {"status": "failed"}},
    ),
    ("PromoteDeployment", {"id_or_key": "k"}, "promote_deployment", {"id_or_key": "k"}),
    (
        "RollbackDeployment",
        {"id_or_key": "k", "version": "2", "tag": "t", "reason": "r"},
        "rollback_deployment",
        {"id_or_key": "k", "version": "2", "tag": "t", "reason": "r"},
    ),
    (
        "PauseDeployment",
        {"id_or_key": "k", "reason": "r"},
        "pause_deployment",
        {"id_or_key": "k", "reason": "r"},
    ),
    ("ResumeDeployment", {"id_or_key": "k"}, "resume_deployment", {"id_or_key": "k", "reason": ""}),
    (
        "FailDeployment",
        {"id_or_key": "k", "reason": "r"},
        "fail_deployment",
        {"id_or_key": "k", "reason": "r"},
    ),
    (
        "CreateSchedule",
        {**BUNDLE, "schedule_json": '{"kind": "delayed"}'},
        "create_schedule",
        {**BUNDLE, "schedule": {"kind": "delayed"}, "source": {}},
    ),
    *(
        (
            f"{verb}Schedule",
            {"schedule_id": "s", "attrs_json": '{"a": 1}', "reason": "r"},
            f"{verb.lower()}_schedule",
            {"schedule_id": "s", "attrs": {"a": 1}, "reason": "r"},
        )
        for verb in ("Update", "Pause", "Resume", "Delete")
    ),
    ("GetSchedule", {"schedule_id": "s"}, "get_schedule", {"schedule_id": "s"}),
    ("ListSchedules", {}, "list_schedules", {"query": {}}),
    (
        "DispatchSchedule",
        {"schedule_id": "s", "payload_json": '{"m": true}', "reason": "manual"},
        "dispatch_schedule",
        {"schedule_id": "s", "payload": {"m": True}, "reason": "manual"},
    ),
    (
        "EmitTriggerEvent",
        {"event_type": "e", "payload_json": " ", "source": "sdk"},
        "emit_trigger_event",
        {"event_type": "e", "payload": {}, "source": "sdk"},
    ),
    ("ListTriggerEvents", {"limit": 5}, "list_trigger_events", {"limit": 5}),
]
DEFINITION_CALLS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "CreateJob",
        {**BUNDLE, "job_id": "j", "resolved_configuration_json": '{"a": 1}', "storage_json": '{"b": 2}'},
        "create_job",
        {**BUNDLE, "job_id": "j", "resolved_configuration": {"a": 1}, "storage": {"b": 2}},
    ),
    ("GetJob", {"job_id": "j"}, "get_job", {"job_id": "j"}),
    ("ListJobs", {"include_archived": True}, "list_jobs", {"include_archived": True}),
    (
        "UpdateJob",
        {**BUNDLE, "job_id": "j", "attrs_json": '{"job_name": "n"}'},
        "update_job",
        {**BUNDLE, "job_id": "j", "attrs": {"job_name": "n"}},
    ),
    ("ArchiveJob", {"job_id": "j"}, "archive_job", {"job_id": "j"}),
    ("ResetJobData", {"job_id": "j"}, "reset_job_data", {"job_id": "j"}),
    ("DeleteJob", {"job_id": "j", "confirmed": True}, "delete_job", {"job_id": "j", "confirmed": True}),
    (
        "StartRun",
        {"job_id": "j", "run_id": "r", "inputs_json": '{"topic": "tea"}'},
        "start_run",
        {"job_id": "j", "run_id": "r", "inputs": {"topic": "tea"}},
    ),
    ("ListRuns", {"job_id": "j"}, "list_runs", {"job_id": "j"}),
    ("GetRun", {"run_id": "r"}, "get_run", {"run_id": "r"}),
    ("PauseRun", {"run_id": "r"}, "pause_run", {"run_id": "r"}),
    ("ResumeRun", {"run_id": "r"}, "resume_run", {"run_id": "r"}),
    ("CancelRun", {"run_id": "r"}, "cancel_run", {"run_id": "r"}),
    ("DeleteRun", {"run_id": "r"}, "delete_run", {"run_id": "r", "confirmed": False}),
    (
        "SendRunInput",
        {"run_id": "r", "input_id": "i", "payload_json": '{"n": 1}', "idempotency_key": "k"},
        "send_run_input",
        {"run_id": "r", "input_id": "i", "payload": {"n": 1}, "idempotency_key": "k"},
    ),
    (
        "CreateJobSchedule",
        {"job_id": "j", "schedule_json": '{"kind": "delayed"}'},
        "create_job_schedule",
        {"job_id": "j", "schedule": {"kind": "delayed"}, "source": {}},
    ),
]
CLUSTER_CALLS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("GetSystemSummary", {}, "get_system_summary", {}),
    ("GetResource", {}, "get_resource", {}),
    ("SetResource", {"resource_json": '{"cpu": 50}'}, "set_resource", {"resource": {"cpu": 50}}),
    ("GetRuntimeStatuses", {}, "get_runtime_statuses", {}),
    ("PublishRuntimeStatus", {"resource_json": '{"a": 1}'}, "publish_runtime_status", {"resource": {"a": 1}}),
    (
        "AckRuntimeStatusEvents",
        {"resource_json": '{"event_ids": ["e"]}'},
        "ack_runtime_status_events",
        {"resource": {"event_ids": ["e"]}},
    ),
    (
        "ReconcileNode",
        {"node_name": "n", "reason": "r", "dry_run": True},
        "reconcile_node",
        {"node_name": "n", "reason": "r", "dry_run": True},
    ),
    (
        "CancelNodeDrain",
        {"node_name": "n", "reason": "r", "mark_eligible": True},
        "cancel_node_drain",
        {"node_name": "n", "reason": "r", "mark_eligible": True},
    ),
    (
        "SetNodeMaintenance",
        {"node_name": "n", "enabled": True, "reason": "r"},
        "set_node_maintenance",
        {"node_name": "n", "enabled": True, "reason": "r"},
    ),
    ("GetNodeDrainStatus", {"node_name": "n"}, "get_node_drain_status", {"node_name": "n"}),
    ("ListServices", {"query_json": '{"tags": ["llm"]}'}, "list_services", {"query": {"tags": ["llm"]}}),
    ("ResolveService", {"name": "o"}, "resolve_service", {"name": "o", "query": {}}),
    ("CheckServices", {"services_json": '[{"name": "o"}]'}, "check_services", {"services": [{"name": "o"}]}),
    (
        "CheckServices",
        {"services_json": '{"services": []}'},
        "check_services",
        {"services": {"services": []}},
    ),
]
OPERATION_CALLS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "StartOperation",
        {"kind": "drain_node", "options_json": '{"node": "n"}'},
        "start_operation",
        {"kind": "drain_node", "options": {"node": "n"}},
    ),
    ("GetOperation", {"operation_id": "o"}, "get_operation", {"operation_id": "o"}),
]
CALLS = [
    *((JOB_V1 + name, *rest) for name, *rest in JOB_CALLS),
    *((JOB_V2 + name, *rest) for name, *rest in DEFINITION_CALLS),
    *((CLUSTER_V1 + name, *rest) for name, *rest in CLUSTER_CALLS),
    *((OPERATIONS_V1 + name, *rest) for name, *rest in OPERATION_CALLS),
]


@pytest.mark.parametrize(("path", "fields", "asked", "given"), CALLS)
@pytest.mark.parametrize("says_version", [False, True])
def test_the_fields_of_a_request_arrive_with_their_json_parsed(
    listening: Served,
    path: str,
    fields: dict[str, Any],
    asked: str,
    given: dict[str, Any],
    says_version: bool,
) -> None:
    version = RPCS[path].version
    request = RPCS[path].request(**{"version": version if says_version else 0, **fields})

    response = ask(listening, path, request)

    assert listening.runtime.calls == [(asked, given)]
    assert response.version == version
    for field in response.DESCRIPTOR.fields:
        if field.name.endswith("_json"):
            answer = json.loads(getattr(response, field.name))
            assert answer["version"] == version
            assert isinstance(answer.get("data", []), list) and isinstance(answer.get("services", []), list)


@pytest.mark.parametrize(
    ("path", "request_", "verb"),
    [
        (JOB_V1 + "DeployJob", job.DeployJobRequest(**BUNDLE, deployment_key="k", wait=True), "deploy_job"),
        (
            JOB_V1 + "UpdateDeployment",
            job.UpdateDeploymentRequest(deployment_key="k", wait=True),
            "update_deployment",
        ),
        (
            CLUSTER_V1 + "DrainNode",
            cluster.DrainNodeRequest(node_name="n", deadline_ms=-5, wait=True),
            "drain_node",
        ),
    ],
)
def test_what_waits_knows_how_long_its_caller_does(
    listening: Served, path: str, request_: Any, verb: str
) -> None:
    ask(listening, path, request_, timeout=20)
    ask(listening, path, request_, timeout=None)

    (first, bounded), (second, unbounded) = listening.runtime.calls
    assert first == second == verb
    assert 15_000 < bounded["wait_ms_max"] < 19_750
    assert unbounded["wait_ms_max"] is None
    assert bounded["wait"] is True


def test_a_job_goes_from_submission_to_its_end(listening: Served) -> None:
    submitted = ask(listening, JOB_V1 + "SubmitJob", job.SubmitJobRequest(**BUNDLE))
    named = {"job_id": submitted.job_id}

    assert (submitted.status, submitted.version) == ("pending", 1)
    got = json.loads(ask(listening, JOB_V1 + "GetJob", job.GetJobRequest(**named)).job_json)
    assert got == {"job": {"job_id": "job-1", "status": "pending"}, "version": 1}
    for name, status in (("PauseJob", "paused"), ("ResumeJob", "resumed"), ("CancelJob", "cancelled")):
        controlled = ask(listening, JOB_V1 + name, RPCS[JOB_V1 + name].request(**named))
        assert (controlled.job_id, controlled.status, controlled.version) == ("job-1", status, 1)
    assert ask(listening, JOB_V1 + "ClearJobs", job.ClearJobsRequest(version=1)).cleared_count == 1


def test_an_unknown_job_has_a_version_and_nothing_else(listening: Served) -> None:
    assert ask(listening, JOB_V1 + "GetJob", job.GetJobRequest(job_id="nobody")).job_json == '{"version":1}'


def test_the_version_of_a_deployment_or_of_a_report_is_left_alone(listening: Served) -> None:
    listening.runtime.answer = {"version": "7"}

    record = ask(listening, JOB_V1 + "GetDeployment", job.GetDeploymentRequest(id_or_key="k"))
    report = ask(listening, CLUSTER_V1 + "CheckServices", cluster.CheckServicesRequest())

    assert (record.result_json, record.version) == ('{"version":"7"}', 1)
    assert report.result_json == '{"version":"7"}'


# What is refused ----------------------------------------------------------------------------------


def test_all_fields_that_are_not_json_are_named_at_once(listening: Served) -> None:
    request = job.CreateScheduleRequest(schedule_json='{"a": ', source_json="[1]")

    status, text = outcome(listening.target, JOB_V1 + "CreateSchedule", request.SerializeToString())

    assert status == "INVALID_ARGUMENT"
    assert text.startswith("body must be valid JSON: the schedule_json is not JSON: ")
    assert text.endswith("; the source_json must be an object, found an array")
    assert listening.runtime.calls == []


@pytest.mark.parametrize(
    "text", ["nope", "1", '"text"', "null", "[" * 100_000, '{"a":1}x', "NaN", '{"\ud800']
)
def test_what_is_no_object_is_refused_where_one_belongs(listening: Served, text: str) -> None:
    body = cluster.ListServicesRequest(
        query_json=text.encode("utf-8", "replace").decode()
    ).SerializeToString()

    status, said = outcome(listening.target, CLUSTER_V1 + "ListServices", body)

    assert status == "INVALID_ARGUMENT"
    assert said.startswith("body must be valid JSON")


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x0a\xff", b"\x0a\x02\xc3\x28", b"\x08"])
def test_bytes_that_are_no_message_are_refused(listening: Served, body: bytes) -> None:
    status, text = outcome(listening.target, JOB_V1 + "GetJob", body)

    assert status == "INVALID_ARGUMENT"
    assert text.startswith("the request is not a mirrorneuron.job.v1.GetJobRequest")


def test_a_request_for_another_version_of_the_interface_is_refused(listening: Served) -> None:
    body = job.GetJobRequest(job_id="j", version=2).SerializeToString()

    assert outcome(listening.target, JOB_V1 + "GetJob", body) == (
        "INVALID_ARGUMENT",
        "the request is for version 2 of the interface; this is 1",
    )


def test_fields_that_are_not_known_are_ignored(listening: Served) -> None:
    body = job.GetJobRequest(job_id="j", version=1).SerializeToString() + b"\xfa\x01\x03new"

    assert outcome(listening.target, JOB_V1 + "GetJob", body) == ("OK", "")


def test_a_bundle_of_64_mib_is_taken_and_more_than_the_limit_is_not(listening: Served) -> None:
    path = JOB_V1 + "SubmitJob"
    largest = job.SubmitJobRequest(manifest_json="{}", payloads={"a": b"x" * (64 << 20)})

    assert outcome(listening.target, path, largest.SerializeToString(), timeout=60)[0] == "OK"
    del largest
    status, _ = outcome(listening.target, path, b"\x00" * (MESSAGE_BYTES_MAX + 1), timeout=60)
    assert status == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("path", [path for path in RPCS if path.rpartition("/")[2] in UNCALLED])
def test_what_this_engine_does_not_offer_is_said_to_be_so(listening: Served, path: str) -> None:
    name = path.rpartition("/")[2]

    assert outcome(listening.target, path) == ("UNIMPLEMENTED", f"this engine does not implement {name}")


# Errors -------------------------------------------------------------------------------------------

ERRORS: list[tuple[Exception, str, str]] = [
    (Invalid("nodes must be a list"), "INVALID_ARGUMENT", "nodes must be a list"),
    (
        Invalid("the manifest is not valid", problems=[Problem("a is missing", "nodes[0]"), "b is wrong"]),
        "INVALID_ARGUMENT",
        "the manifest is not valid: nodes[0]: a is missing; b is wrong",
    ),
    (
        Invalid("a is missing; b is wrong", problems=["a is missing", "b is wrong"]),
        "INVALID_ARGUMENT",
        "a is missing; b is wrong",
    ),
    (NotFound("job j is not running"), "NOT_FOUND", "job j is not running"),
    (
        Conflict("requirements_not_met: no gpu", code="requirements_not_met"),
        "FAILED_PRECONDITION",
        "requirements_not_met: no gpu",
    ),
    (Throttled("resource_overloaded: retry later"), "RESOURCE_EXHAUSTED", "resource_overloaded: retry later"),
    (TimedOut("no answer in 5 s"), "DEADLINE_EXCEEDED", "no answer in 5 s"),
    (Unavailable("the store is away"), "UNAVAILABLE", "the store is away"),
    (Forbidden("not you"), "PERMISSION_DENIED", "not you"),
    (NotFound("no such feature", code="unimplemented"), "UNIMPLEMENTED", "no such feature"),
    (Broken("this should not be", code="impossible"), "INTERNAL", "this should not be"),
]


@pytest.mark.parametrize(("error", "status", "text"), ERRORS)
def test_each_error_leaves_with_its_status_and_all_that_is_wrong(
    listening: Served, error: Exception, status: str, text: str
) -> None:
    listening.runtime.fail = error

    assert outcome(listening.target, JOB_V1 + "SubmitJob") == (status, text)


def test_a_very_long_list_of_problems_is_cut_and_says_so(listening: Served) -> None:
    listening.runtime.fail = Invalid(
        "the manifest is not valid", problems=[f"problem {n}" for n in range(1_000)]
    )

    status, text = outcome(listening.target, JOB_V1 + "SubmitJob")

    assert status == "INVALID_ARGUMENT"
    assert text.startswith("the manifest is not valid: problem 0; problem 1; ")
    assert " more" in text[-12:] and len(text) <= 2_000


def test_nothing_of_an_unexpected_failure_leaves_the_process(listening: Served) -> None:
    listening.runtime.fail = RuntimeError("password=hunter2 in /srv/secret")

    status, text = outcome(listening.target, JOB_V1 + "SubmitJob")

    assert status == "INTERNAL"
    assert text.startswith("internal error ") and "hunter2" not in text and "secret" not in text


def test_an_answer_that_has_no_json_form_is_our_failure(listening: Served) -> None:
    listening.runtime.answer = {"when": object()}

    status, text = outcome(listening.target, CLUSTER_V1 + "GetResource")

    assert status == "INTERNAL"
    assert text.startswith("an answer cannot be written")


def test_an_unknown_kind_of_operation_is_invalid(listening: Served) -> None:
    body = operations.StartOperationRequest(kind="unknown").SerializeToString()

    assert outcome(listening.target, OPERATIONS_V1 + "StartOperation", body) == (
        "INVALID_ARGUMENT",
        "there is no operation 'unknown'",
    )


def test_what_was_begun_is_done_to_its_end_though_its_caller_is_gone(
    listening: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    begun, may_go_on, over = threading.Event(), asyncio.Event(), threading.Event()

    async def submit(manifest_json: str, payloads: Any) -> str:
        try:
            begun.set()
            await may_go_on.wait()
            steps.append("written")
            return "j"
        finally:
            over.set()

    monkeypatch.setattr(listening.runtime, "submit", submit)
    with pytest.raises(grpc.RpcError) as refused:
        ask(listening, JOB_V1 + "SubmitJob", job.SubmitJobRequest(**BUNDLE), timeout=0.5)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert begun.wait(5)
    # Whoever asks next is answered after the server has learned of the first one's end.
    for _ in range(3):
        ask(listening, JOB_V1 + "ListJobs", job.ListJobsRequest())
    listening.loop.call_soon_threadsafe(may_go_on.set)
    assert over.wait(5)
    assert steps == ["written"]
