"""Under which key, with which tag and by which rules a bundle is deployed."""

from __future__ import annotations

from typing import Any

import pytest
from headway.service.deployments.policy import Policy, key_of, read_policy, tag_of
from headway_wire.errors import Invalid

SAID: list[dict[str, Any]] = [
    {"metadata": {"deployment_key": "k"}},
    {"metadata": {"mn_deployment_key": "k"}},
    {"metadata": {"mn_cli": {"deployment_key": "k"}}},
    {"deployment": {"key": "k"}},
    {"policies": {"deployment_key": "k"}},
]
"""Where a manifest may say the key, first hit first.  Source: runtime API, section 3.6."""


def merged(*manifests: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for manifest in manifests:
        for name, value in manifest.items():
            found[name] = {**found.get(name, {}), **value}
    return found


def key(given: str, manifest: dict[str, Any]) -> str:
    return key_of(given, manifest, job_name="job", graph_id="graph")


def test_the_key_of_the_request_comes_first() -> None:
    assert key("mine", merged(*SAID)) == "mine"


@pytest.mark.parametrize("place", range(len(SAID)))
def test_the_first_place_of_the_manifest_that_says_a_key_wins(place: int) -> None:
    later = [
        {name: {inner: "later"} if inner != "mn_cli" else {"mn_cli": {"deployment_key": "later"}}}
        for name, inner in _places()[place + 1 :]
    ]

    assert key(" ", merged(*later, SAID[place])) == "k"


def _places() -> list[tuple[str, str]]:
    return [(name, inner) for manifest in SAID for name, value in manifest.items() for inner in value]


def test_without_a_key_it_is_the_job_name_and_then_the_graph() -> None:
    assert key("", {"metadata": {"deployment_key": 5}, "deployment": "x"}) == "job"
    assert key_of("", {}, job_name="", graph_id="graph") == "graph"


def test_there_is_an_end_to_keys() -> None:
    with pytest.raises(Invalid) as caught:
        key("x" * 201, {})
    assert caught.value.code == "bad_deployment_key"


def test_a_tag_is_the_authors() -> None:
    assert tag_of({"deployment": {"tag": "2026-04"}, "metadata": {"deployment_tag": "x"}}) == "2026-04"
    assert tag_of({"metadata": {"deployment_tag": "x"}}) == "x"
    assert tag_of({"deployment": {"tag": 5}}) == ""


def test_the_request_is_laid_over_the_manifest_over_the_defaults() -> None:
    manifest = {"policies": {"update": {"strategy": "blue-green", "min_healthy_ms": 5, "other": 1}}}

    assert read_policy({}, {}) == Policy("rolling", 1, 0, 10_000, 300_000, 600_000, "checks", False, False)
    assert read_policy({"min_healthy_ms": 7, "max_parallel": None}, manifest) == Policy(
        strategy="blue-green", min_healthy_ms=7
    )


def test_a_canary_is_at_least_one() -> None:
    assert read_policy({"strategy": "canary"}, {}).canary == 1
    assert read_policy({"strategy": "canary", "canary": 3}, {}).canary == 3


@pytest.mark.parametrize(
    ("policy", "side_by_side"),
    [({}, False), ({"canary": 1}, True), ({"strategy": "canary"}, True), ({"strategy": "blue-green"}, True)],
)
def test_a_canary_and_blue_green_run_beside_the_stable_version(
    policy: dict[str, Any], side_by_side: bool
) -> None:
    assert read_policy(policy, {}).side_by_side is side_by_side


def test_all_that_is_wrong_with_a_policy_is_told_at_once() -> None:
    wrong = {
        "strategy": "hope",
        "health_check": "none",
        "max_parallel": 0,
        "min_healthy_ms": "soon",
        "auto_promote": "yes",
    }

    with pytest.raises(Invalid) as caught:
        read_policy(wrong, {})

    assert caught.value.code == "bad_update_policy"
    assert caught.value.message.split("; ") == [
        "unknown deployment strategy hope, expected one of rolling, canary, blue-green",
        "health_check must be checks or agent_states",
        "max_parallel must be a whole number from 1 to 1000",
        "min_healthy_ms must be a whole number from 0 to 315360000000",
        "auto_promote must be true or false",
    ]
