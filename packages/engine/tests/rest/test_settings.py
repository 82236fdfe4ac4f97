"""Settings and plugin configuration: known by name, in effect at once, secrets masked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from headway.service.access import Actor
from headway.service.settings import KNOWN, Settings
from headway_wire.tenantid import id_from_slug

from packages.engine.tests.rest.boxes import Box

REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "settings.md"


def test_the_reference_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|", REFERENCE.read_text(), re.M)
    documented = {key: default.strip().strip("`") for key, _, default in rows}

    def shown(default: object) -> str:
        return (
            "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        )

    assert documented == {key: shown(known.default) for key, known in KNOWN.items()}


def test_a_changed_mode_counts_for_the_next_run_without_a_restart(box: Box) -> None:
    before = box.call("POST", "/agents/kit/actions/look:invoke", {}).json["id"]
    assert box.finished(before)["status"] == "succeeded"
    assert box.call("PUT", "/settings/execution_mode", {"value": "manual"}).json["value"] == "manual"

    id = box.call("POST", "/agents/kit/actions/look:invoke", {}).json["id"]

    assert box.pending(id)["permission"] == "READ"
    assert box.call("DELETE", "/settings/execution-mode").json["value"] == "guided"
    free = box.call("POST", "/agents/kit/actions/look:invoke", {}).json["id"]
    assert box.finished(free)["status"] == "succeeded"


def test_a_requester_may_not_approve_when_another_person_is_required(box: Box) -> None:
    box.call("PUT", "/settings/approval.require_other_person", {"value": "true"})
    id = box.call("POST", "/agents/kit/actions/change:invoke", {}, who="engineer").json["id"]
    approval = box.pending(id)
    path = f"/approvals/{approval['id']}"

    own = box.call("POST", f"{path}:approve", who="engineer")

    assert (own.status, box.get(path, who="engineer")["may_decide"]) == (403, False)
    assert box.get(path, who="admin")["may_decide"]
    assert box.call("POST", f"{path}:approve", who="admin").status == 200
    assert box.finished(id)["status"] == "succeeded"


def test_the_approval_timeout_counts_for_the_next_approval(box: Box) -> None:
    box.call("PUT", "/settings/approval.timeout", {"value": "2m"})

    id = box.call("POST", "/agents/kit/actions/change:invoke", {}).json["id"]

    approval = box.pending(id)
    assert approval["expires_ms"] - approval["requested_ms"] == 120_000


def test_a_setting_of_one_tenant_is_not_one_of_another(box: Box) -> None:
    box.call("PUT", "/settings/agentic_max_tokens", {"value": 9})

    assert box.get("/settings/agentic_max_tokens")["value"] == 9
    assert box.get("/settings/agentic_max_tokens", who="stranger")["value"] == 50_000


def test_what_another_engine_set_counts_once_it_was_read_again(box: Box) -> None:
    settings, tenant = box.services.settings, id_from_slug("default")
    other = Settings(box.services.store, box.clock)
    box.asks(other.load())
    box.asks(other.set(Actor(tenant, "ada", "admin"), "execution-mode", "manual"))
    assert settings.policy(tenant).mode == "guided"

    box.asks(settings.load())

    assert settings.policy(tenant).mode == "manual"


def test_an_unknown_setting_is_refused_with_the_nearest_names(box: Box) -> None:
    answer = box.call("PUT", "/settings/aproval.timeout", {"value": "1m"})

    assert (answer.status, answer.code) == (404, "unknown_setting")
    assert answer.json["error"]["details"]["nearest"][0] == "approval.timeout"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("execution-mode", "yolo"),
        ("execution-mode", None),
        ("approval.timeout", "soon"),
        ("approval.timeout", 30),
        ("approval.timeout", "1ms"),
        ("approval.require_other_person", "maybe"),
        ("approval.require_other_person", 1),
        ("agentic_max_tokens", 0),
        ("agentic_max_tokens", 1.5),
        ("agentic_max_tokens", "many"),
        ("agentic_max_tokens", True),
        ("intent.threshold", 1.1),
        ("intent.threshold", "nan"),
        ("intent.threshold", "inf"),
        ("llm.default_provider", {"a": 1}),
    ],
)
def test_a_wrong_value_is_refused_and_the_old_one_stays(shared_box: Box, key: str, value: object) -> None:
    before = shared_box.get(f"/settings/{key}")

    answer = shared_box.call("PUT", f"/settings/{key}", {"value": value})

    assert (answer.status, answer.code) == (400, "wrong_value")
    assert shared_box.get(f"/settings/{key}") == before


def test_values_may_be_given_as_text(shared_box: Box) -> None:
    for key, text, value in (
        ("agentic_max_iterations", "12", 12),
        ("intent.threshold", "0.5", 0.5),
        ("approval.require_other_person", "false", False),
    ):
        assert shared_box.call("PUT", f"/settings/{key}", {"value": text}).json["value"] == value


def test_settings_survive_a_restart_of_the_service(box: Box) -> None:
    box.call("PUT", "/settings/agentic_max_tokens", {"value": 9})

    box.asks(box.services.settings.load())

    assert box.get("/settings/agentic_max_tokens")["source"] == "set"


def test_a_plugin_is_configured_under_both_of_its_names_and_its_secret_is_masked(box: Box) -> None:
    place = box.call("PUT", "/agents/kit/config/place", {"value": "there"}, who="engineer")
    secret = box.call("PUT", "/settings/plugin.kit.token", {"value": "s3cret"})

    assert (place.json["value"], place.json["source"]) == ("there", "set")
    assert (secret.json["value"], secret.json["secret"]) == ("********", True)
    items = {item["key"]: item["value"] for item in box.get("/agents/kit/config")["items"]}
    assert items == {"place": "there", "token": "********"}
    assert box.get("/settings/plugin.kit.place")["value"] == "there"
    keys = [setting["key"] for setting in box.get("/settings")["items"]]
    assert {"plugin.kit.place", "plugin.kit.token", "execution-mode"} <= set(keys)
    assert b"s3cret" not in box.call("GET", "/settings").text
    assert box.get("/settings", who="stranger")["items"] != box.get("/settings")["items"]


def test_a_plugin_key_that_was_not_declared_is_refused(box: Box) -> None:
    config = box.call("PUT", "/agents/kit/config/plaec", {"value": "x"})
    setting = box.call("PUT", "/settings/plugin.kit.plaec", {"value": "x"})

    assert (config.status, setting.status) == (404, 404)
    assert config.json["error"]["details"]["nearest"] == ["place"]


def test_plugins_show_what_they_are(shared_box: Box) -> None:
    line = shared_box.get("/agents")["items"][0]
    plugin = shared_box.get("/agents/kit", who="operator")
    health = shared_box.get("/agents/kit/health")

    assert (line["name"], line["version"], line["permission"], line["status"]) == (
        "kit",
        "1.0",
        "ADMIN",
        "healthy",
    )
    assert "actions" not in line
    assert [action["id"] for action in plugin["actions"]][:2] == ["look", "change"]
    assert plugin["actions"][0]["input"][0]["name"] == "text"
    assert (health["healthy"], health["status"]) == (True, "healthy")
