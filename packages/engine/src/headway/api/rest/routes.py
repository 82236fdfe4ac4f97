"""The routes: every path, the least role, the body, the answer, and the function that serves it.

The table is what runs, what `/openapi.json` is made from, and what the tests of roles go through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from starlette.responses import Response

from headway.api.rest import approvals, executions, plugins, session, settings, workflows
from headway.api.rest.exchange import (
    BODY_BYTES_MAX,
    LOGIN_BYTES_MAX,
    RUNBOOK_BYTES_MAX,
    Exchange,
    Nothing,
    Reply,
    RunbookText,
)
from headway.service.approvals import Approval
from headway.service.catalogue import KINDS, ConfigItem, Health, PluginLine, PluginView
from headway.service.executions import Execution, ExecutionLine, StepView
from headway.service.settings import Setting
from headway.service.trace import EntryView
from headway.service.workflows import Verdict, Workflow, WorkflowLine

PREFIX = "/api/v1"
NOBODY = "none"
"""The role of routes that need no token."""

B = TypeVar("B", bound=msgspec.Struct)

_PAGE = {"limit": "how many items, 1 to 500", "cursor": "`next` of the page before"}
_FILE = {"file": "the name that problems cite"}


@dataclass(frozen=True, slots=True)
class Route(Generic[B]):
    """One method of one path below the prefix.

    role: the least that may use it, or "none".  answer: the type of the value, of the items when `many`,
    None for no body; `stream` says that the answer is a stream of server-sent events.
    """

    method: str
    path: str
    role: str
    body: type[B]
    serve: Callable[[Exchange[B]], Awaitable[Reply | Response]]
    answer: type | None = None
    status: int = 200
    many: bool = False
    stream: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    bytes_max: int = BODY_BYTES_MAX


def _session() -> list[Route[Any]]:
    return [
        Route(
            "POST",
            "/auth/login",
            NOBODY,
            session.Login,
            session.login,
            session.SessionView,
            bytes_max=LOGIN_BYTES_MAX,
        ),
        Route(
            "POST",
            "/auth/refresh",
            NOBODY,
            session.Refresh,
            session.refresh,
            session.SessionView,
            bytes_max=LOGIN_BYTES_MAX,
        ),
        Route("POST", "/auth/logout", "operator", Nothing, session.logout, status=204),
        Route("GET", "/auth/me", "operator", Nothing, session.me, session.UserView),
        Route("GET", "/apikeys", "operator", Nothing, session.keys, session.KeyView, many=True),
        Route("POST", "/apikeys", "operator", session.NewKey, session.create_key, session.NewKeyView, 201),
        Route("DELETE", "/apikeys/{id}", "operator", Nothing, session.revoke_key, status=204),
    ]


def _plugins(kind: str) -> list[Route[Any]]:
    root = f"/{kind}s"
    configurer = "engineer" if kind == "agent" else "admin"
    found: list[Route[Any]] = [
        Route("GET", root, "operator", Nothing, plugins.plugins, PluginLine, many=True),
        Route("GET", root + "/{name}", "operator", Nothing, plugins.plugin, PluginView),
        Route("GET", root + "/{name}/health", "operator", Nothing, plugins.health, Health),
        Route("GET", root + "/{name}/config", "operator", Nothing, plugins.config, ConfigItem, many=True),
        Route(
            "PUT",
            root + "/{name}/config/{key}",
            configurer,
            plugins.ConfigValue,
            plugins.configure,
            ConfigItem,
        ),
    ]
    if kind == "agent":
        path = root + "/{name}/actions/{action}:invoke"
        found.append(Route("POST", path, "engineer", plugins.Invocation, plugins.invoke, Execution, 202))
    return found


def _workflows() -> list[Route[Any]]:
    root, named = "/workflows", "/workflows/{name}"
    version = {"version": "an earlier version"}
    return [
        Route("GET", root, "operator", Nothing, workflows.workflows, WorkflowLine, many=True, query=_PAGE),
        Route(
            "POST",
            root,
            "engineer",
            RunbookText,
            workflows.create,
            Workflow,
            201,
            query=_FILE,
            bytes_max=RUNBOOK_BYTES_MAX,
        ),
        Route(
            "POST",
            root + ":validate",
            "operator",
            RunbookText,
            workflows.validate,
            Verdict,
            query=_FILE,
            bytes_max=RUNBOOK_BYTES_MAX,
        ),
        Route("POST", named + ":validate", "operator", Nothing, workflows.validate_stored, Verdict),
        Route("POST", named + ":run", "engineer", workflows.Run, workflows.run, Execution, 202),
        Route("GET", named, "operator", Nothing, workflows.workflow, Workflow, query=version),
        Route("DELETE", named, "engineer", Nothing, workflows.delete, status=204),
    ]


def _executions() -> list[Route[Any]]:
    root, one = "/executions", "/executions/{id}"
    page = _PAGE | {"status": "repeatable", "workflow": "its name", "parent": "the attempt that asked"}
    wait = {"wait_ms": "answer when it has ended, at the latest after so long"}
    after = {"after": "begin behind this entry"}
    return [
        Route("GET", root, "operator", Nothing, executions.executions, ExecutionLine, many=True, query=page),
        Route("POST", one + ":cancel", "engineer", executions.Reason, executions.cancel, Execution, 202),
        Route("POST", one + ":pause", "engineer", Nothing, executions.pause, Execution, 202),
        Route("POST", one + ":resume", "engineer", Nothing, executions.resume, Execution, 202),
        Route("GET", one, "operator", Nothing, executions.execution, Execution, query=wait),
        Route("GET", one + "/steps", "operator", Nothing, executions.steps, StepView, many=True),
        Route("GET", one + "/logs", "operator", Nothing, executions.logs, EntryView, many=True, query=_PAGE),
        Route(
            "GET",
            one + "/events",
            "operator",
            Nothing,
            executions.events,
            EntryView,
            stream=True,
            query=after,
        ),
        Route(
            "POST",
            one + "/steps/{step}:resolve",
            "engineer",
            executions.Resolution,
            executions.resolve,
            Execution,
            202,
        ),
    ]


def _approvals() -> list[Route[Any]]:
    root, one = "/approvals", "/approvals/{id}"
    page = _PAGE | {"status": "repeatable", "execution": "its id"}
    return [
        Route("GET", root, "operator", Nothing, approvals.approvals, Approval, many=True, query=page),
        Route("GET", root + "/events", "operator", Nothing, approvals.events, Approval, stream=True),
        Route("POST", one + ":approve", "engineer", approvals.Approving, approvals.approve, Approval),
        Route("POST", one + ":reject", "engineer", approvals.Rejecting, approvals.reject, Approval),
        Route("GET", one, "operator", Nothing, approvals.approval, Approval),
    ]


def _settings() -> list[Route[Any]]:
    root, one = "/settings", "/settings/{key}"
    return [
        Route("GET", root, "operator", Nothing, settings.settings, Setting, many=True),
        Route("GET", one, "operator", Nothing, settings.setting, Setting),
        Route("PUT", one, "admin", settings.SettingValue, settings.change, Setting),
        Route("DELETE", one, "admin", Nothing, settings.reset, Setting),
    ]


def routes() -> list[Route[Any]]:
    """Every route below the prefix, the more specific path first."""
    return [
        *_session(),
        *(route for kind in KINDS for route in _plugins(kind)),
        *_workflows(),
        *_executions(),
        *_approvals(),
        *_settings(),
    ]
