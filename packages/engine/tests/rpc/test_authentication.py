"""A configured token guards every call, those that nobody serves too.  Source: runtime API, section 1.2."""

from __future__ import annotations

import pytest
from headway_wire.mirrorneuron.calls import RPCS

from packages.engine.tests.rpc.runtime import Served, outcome

UNKNOWN = [
    "/mirrorneuron.job.v1.JobService/Frobnicate",
    "/mirrorneuron.job.v9.JobService/SubmitJob",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
]


@pytest.mark.parametrize("path", [*RPCS, *UNKNOWN])
def test_no_call_is_served_without_the_token(locked: Served, path: str) -> None:
    for sent in (None, "Bearer wrong", ""):
        assert outcome(locked.target, path, authorization=sent) == (
            "UNAUTHENTICATED",
            "gRPC auth token is required for this RPC",
        )
    assert locked.runtime.calls == []


@pytest.mark.parametrize(
    "sent", ["Bearer s3cret-tok", "bearer s3cret-tok", "BEARER   s3cret-tok", "s3cret-tok", " s3cret-tok "]
)
def test_the_scheme_may_be_missing_and_its_case_does_not_matter(locked: Served, sent: str) -> None:
    status, text = outcome(locked.target, "/mirrorneuron.job.v1.JobService/ClearJobs", authorization=sent)

    assert (status, text) == ("OK", "")


@pytest.mark.parametrize(
    "sent", ["Basic s3cret-tok", "Bearer", "Bearer s3cret-to", "Bearer s3cret-tokk", "Bearer s3cret-tok x"]
)
def test_what_is_nearly_the_token_is_not_the_token(locked: Served, sent: str) -> None:
    path = "/mirrorneuron.job.v1.JobService/ClearJobs"

    assert outcome(locked.target, path, authorization=sent)[0] == "UNAUTHENTICATED"


def test_a_request_that_is_too_large_is_not_read_without_the_token(locked: Served) -> None:
    path = "/mirrorneuron.job.v1.JobService/SubmitJob"

    assert outcome(locked.target, path, b"\xff" * (1 << 20))[0] == "UNAUTHENTICATED"


@pytest.mark.parametrize("path", UNKNOWN)
def test_with_the_token_unknown_calls_are_unimplemented(locked: Served, path: str) -> None:
    assert outcome(locked.target, path, authorization="Bearer s3cret-tok")[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize("path", RPCS)
def test_without_a_configured_token_everybody_is_let_in(listening: Served, path: str) -> None:
    status, _ = outcome(listening.target, path, authorization="Bearer whatever")

    assert status != "UNAUTHENTICATED"
