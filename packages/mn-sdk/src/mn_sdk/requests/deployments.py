"""Calls about deployments.  Each returns the record as JSON text, with `data` around it for the list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from headway_wire.mirrorneuron import job_v1_pb2 as v1
from headway_wire.mirrorneuron.calls import JOB_V1

from mn_sdk.calls import Call, call, json_text, query_text


def _deployment(name: str, request: Message) -> Call[str]:
    return call(JOB_V1 + name, request, v1.DeploymentResponse, lambda answer: answer.result_json)


def deploy_job(
    manifest_json: str,
    payloads: Mapping[str, bytes],
    deployment_key: str = "",
    update_policy: Mapping[str, Any] | None = None,
    wait: bool = False,
) -> Call[str]:
    """Deploy a bundle under a key; "" for the key that the manifest names.

    wait: until it is healthy, at most as long as the client's timeout.
    """
    request = v1.DeployJobRequest(
        manifest_json=manifest_json,
        payloads=payloads,
        deployment_key=deployment_key,
        update_policy_json=json_text(update_policy),
        wait=wait,
        version=1,
    )
    return _deployment("DeployJob", request)


def update_deployment(
    deployment_key: str,
    manifest_json: str,
    payloads: Mapping[str, bytes],
    update_policy: Mapping[str, Any] | None = None,
    wait: bool = False,
) -> Call[str]:
    """Deploy the next version of what runs under a key.  wait: as in `deploy_job`."""
    request = v1.UpdateDeploymentRequest(
        deployment_key=deployment_key,
        manifest_json=manifest_json,
        payloads=payloads,
        update_policy_json=json_text(update_policy),
        wait=wait,
        version=1,
    )
    return _deployment("UpdateDeployment", request)


def get_deployment(id_or_key: str) -> Call[str]:
    """One deployment."""
    return _deployment("GetDeployment", v1.GetDeploymentRequest(id_or_key=id_or_key, version=1))


def list_deployments(**query: Any) -> Call[str]:
    """The deployments that match `deployment_key` and `status`, where given."""
    return _deployment("ListDeployments", v1.ListDeploymentsRequest(query_json=query_text(query), version=1))


def promote_deployment(id_or_key: str) -> Call[str]:
    """Make the candidate the stable version.  The server refuses unless one awaits promotion."""
    return _deployment("PromoteDeployment", v1.PromoteDeploymentRequest(id_or_key=id_or_key, version=1))


def rollback_deployment(id_or_key: str, version: str = "", tag: str = "", reason: str = "") -> Call[str]:
    """Go back to a version or a tag; without either, to the latest stable version before the current."""
    request = v1.RollbackDeploymentRequest(id_or_key=id_or_key, version=version, tag=tag, reason=reason)
    return _deployment("RollbackDeployment", request)


def pause_deployment(id_or_key: str, reason: str = "") -> Call[str]:
    """Mark a deployment as paused."""
    return _deployment("PauseDeployment", _action(id_or_key, reason))


def resume_deployment(id_or_key: str, reason: str = "") -> Call[str]:
    """Mark a deployment as no longer paused."""
    return _deployment("ResumeDeployment", _action(id_or_key, reason))


def fail_deployment(id_or_key: str, reason: str = "") -> Call[str]:
    """Mark a deployment as failed."""
    return _deployment("FailDeployment", _action(id_or_key, reason))


def _action(id_or_key: str, reason: str) -> v1.DeploymentActionRequest:
    return v1.DeploymentActionRequest(id_or_key=id_or_key, reason=reason, version=1)
