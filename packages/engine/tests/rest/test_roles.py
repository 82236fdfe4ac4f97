"""Every route, asked by every role, by nobody, and by another tenant."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headway.api.rest.routes import Route, routes

from packages.engine.tests.rest.boxes import ROLES, Box
from packages.engine.tests.rest.test_executions import GREET

REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "rest-api.md"

# Written by hand from the engine surface, section 4, so that a slip in the code is seen.
LEAST_ROLE = {
    "POST /auth/login": "none",
    "POST /auth/refresh": "none",
    "POST /auth/logout": "operator",
    "GET /auth/me": "operator",
    "GET /apikeys": "operator",
    "POST /apikeys": "operator",
    "DELETE /apikeys/{id}": "operator",
    **{f"GET /{kind}": "operator" for kind in ("agents", "providers", "connectors")},
    **{f"GET /{kind}/{{name}}": "operator" for kind in ("agents", "providers", "connectors")},
    **{f"GET /{kind}/{{name}}/health": "operator" for kind in ("agents", "providers", "connectors")},
    **{f"GET /{kind}/{{name}}/config": "operator" for kind in ("agents", "providers", "connectors")},
    "PUT /agents/{name}/config/{key}": "engineer",
    "PUT /providers/{name}/config/{key}": "admin",
    "PUT /connectors/{name}/config/{key}": "admin",
    "POST /agents/{name}/actions/{action}:invoke": "engineer",
    "GET /workflows": "operator",
    "POST /workflows": "engineer",
    "POST /workflows:validate": "operator",
    "GET /workflows/{name}": "operator",
    "DELETE /workflows/{name}": "engineer",
    "POST /workflows/{name}:validate": "operator",
    "POST /workflows/{name}:run": "engineer",
    "GET /executions": "operator",
    "GET /executions/{id}": "operator",
    "GET /executions/{id}/steps": "operator",
    "GET /executions/{id}/logs": "operator",
    "GET /executions/{id}/events": "operator",
    "POST /executions/{id}:cancel": "engineer",
    "POST /executions/{id}:pause": "engineer",
    "POST /executions/{id}:resume": "engineer",
    "POST /executions/{id}/steps/{step}:resolve": "engineer",
    "GET /approvals": "operator",
    "GET /approvals/events": "operator",
    "GET /approvals/{id}": "operator",
    "POST /approvals/{id}:approve": "engineer",
    "POST /approvals/{id}:reject": "engineer",
    "GET /settings": "operator",
    "GET /settings/{key}": "operator",
    "PUT /settings/{key}": "admin",
    "DELETE /settings/{key}": "admin",
}


def name_of(route: Route[Any]) -> str:
    return f"{route.method} {route.path}"


def test_the_routes_are_those_of_this_table_and_of_the_reference() -> None:
    found = {name_of(route): route.role for route in routes()}
    documented = set(re.findall(r"^\| `((?:GET|POST|PUT|DELETE) /[^`]*)`", REFERENCE.read_text(), re.M))
    documented -= {"GET /healthz", "GET /metrics", "GET /openapi.json"}
    for kind in ("/providers", "/connectors"):  # The reference has one table for the three.
        documented |= {
            n.replace("/agents", kind) for n in documented if ":invoke" not in n and "/agents" in n
        }

    assert found == LEAST_ROLE
    assert documented == set(LEAST_ROLE)


class Asked:
    """What a route is asked with: things that exist, made anew when a test uses them up."""

    def __init__(self, box: Box) -> None:
        self.box = box

    def execution(self) -> str:
        return str(self.box.call("POST", "/agents/kit/actions/wait:invoke", {}).json["id"])

    def paused(self) -> str:
        id = self.execution()
        self.box.call("POST", f"/executions/{id}:pause")
        return id

    def unknown_change(self) -> str:
        id = str(self.box.call("POST", "/agents/kit/actions/lose:invoke", {}).json["id"])
        self.box.call("POST", f"/approvals/{self.box.pending(id)['id']}:approve")
        steps = f"/executions/{id}/steps"
        self.box.until(lambda: self.box.get(steps)["items"][0]["status"] == "unknown", "an unknown change")
        return id

    def approval(self, action: str = "change") -> str:
        id = str(self.box.call("POST", f"/agents/kit/actions/{action}:invoke", {}).json["id"])
        return str(self.box.pending(id)["id"])

    def workflow(self) -> str:
        self.box.store_runbook(GREET)
        return "greet"

    def own_key(self, who: str) -> str:
        return str(self.box.call("POST", "/apikeys", {}, who=who).json["id"])

    def filled(self, name: str, who: str) -> tuple[str, Any, dict[str, str]]:
        """Path, body and headers of a request that succeeds for whoever may make it."""
        _, _, path = name.partition(" ")
        yaml = {"Content-Type": "application/yaml"}
        special: dict[str, Callable[[], tuple[str, Any]]] = {
            "DELETE /apikeys/{id}": lambda: (f"/apikeys/{self.own_key(who)}", None),
            "POST /executions/{id}:resume": lambda: (f"/executions/{self.paused()}:resume", None),
            "POST /executions/{id}/steps/{step}:resolve": lambda: (
                f"/executions/{self.unknown_change()}/steps/call:resolve",
                {"verdict": "failed"},
            ),
            "POST /agents/{name}/actions/{action}:invoke": lambda: ("/agents/kit/actions/look:invoke", {}),
            "POST /apikeys": lambda: ("/apikeys", {"description": "x"}),
            "POST /workflows/{name}:run": lambda: (
                f"/workflows/{self.workflow()}:run",
                {"inputs": {"text": "x"}},
            ),
            "PUT /settings/{key}": lambda: ("/settings/agentic_max_tokens", {"value": 7}),
        }
        if name in special:
            return *special[name](), {}
        if path.startswith("/workflows") and "{" not in path and name.startswith("POST"):
            return path, GREET, yaml
        collection = path.split("/")[1]
        if "{name}" in path:
            known = {"agents": "kit", "providers": "opener", "connectors": "door"}
            path = path.replace("{name}", known.get(collection) or self.workflow())
            path = path.replace("{key}", "place")
            return path, {"value": "there"} if name.startswith("PUT") else None, {}
        if collection == "approvals":
            return path.replace("{id}", self.approval() if "{id}" in path else ""), None, {}
        if collection == "executions":
            return path.replace("{id}", self.execution() if "{id}" in path else ""), None, {}
        return path.replace("{key}", "execution-mode"), None, {}


@pytest.mark.parametrize("name", [name for name, role in LEAST_ROLE.items() if role != "none"])
def test_a_route_serves_its_least_role_and_above_and_nobody_else(shared_box: Box, name: str) -> None:
    asked, method = Asked(shared_box), name.partition(" ")[0]
    for who in ("", *ROLES):
        path, body, headers = asked.filled(name, who or "admin")
        allowed = who and ROLES.index(who) >= ROLES.index(LEAST_ROLE[name])
        if allowed and path.endswith("/events"):
            with shared_box.stream(path, who=who) as stream:
                assert stream.response.status == 200
            continue
        if name == "POST /auth/logout" and allowed:
            who = f"fresh-{who}"
        answer = shared_box.call(method, path, body, who=who, headers=headers)
        expected = 401 if not who else 403 if not allowed else None
        if expected:
            assert answer.status == expected, (who, answer.text)
        else:
            assert 200 <= answer.status < 300, (who, answer.text)


def test_only_an_admin_decides_an_admin_action(shared_box: Box) -> None:
    for word in ("approve", "reject"):
        path = f"/approvals/{Asked(shared_box).approval('rule')}:{word}"
        statuses = [shared_box.call("POST", path, who=who).status for who in ROLES]
        assert statuses == [403, 403, 200]


@pytest.mark.parametrize(
    "name", [name for name in LEAST_ROLE if "{id}" in name or "{step}" in name or "/workflows/{" in name]
)
def test_another_tenant_sees_nothing_of_this_one(shared_box: Box, name: str) -> None:
    asked, method = Asked(shared_box), name.partition(" ")[0]
    path, body, headers = asked.filled(name, "admin")
    unknown = re.sub(r"(run|apr|key)-[0-9a-z-]+|greet", "run-unknown", path)

    foreign = shared_box.call(method, path, body, who="stranger", headers=headers)
    nothing = shared_box.call(method, unknown, body, who="stranger", headers=headers)

    assert foreign.status == nothing.status == 404
    assert foreign.json["error"]["code"] == nothing.json["error"]["code"]


def test_lists_of_another_tenant_are_empty(shared_box: Box) -> None:
    asked = Asked(shared_box)
    asked.approval()
    asked.workflow()

    for path in ("/executions", "/approvals", "/workflows", "/agents", "/providers"):
        assert shared_box.get(path)["items"], path
        assert shared_box.get(path, who="stranger")["items"] == [], path
    foreign = shared_box.call("POST", "/agents/kit/actions/look:invoke", {}, who="stranger")
    assert (foreign.status, foreign.code) == (404, "unknown_plugin")


def test_the_same_name_is_another_workflow_in_another_tenant(shared_box: Box) -> None:
    Asked(shared_box).workflow()
    other = GREET.replace("Say it back", "Mine").replace("kit", "tool")

    assert shared_box.store_runbook(other, who="stranger").status == 201

    assert shared_box.get("/workflows/greet", who="stranger")["description"] == "Mine"
    assert shared_box.get("/workflows/greet")["description"] == "Say it back"
