"""What the tests of the runtime share: a sample plugin, and an engine's side of its calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from headway_wire import codec, link, messages, seal
from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse
from mirastack_sdk.declarations import Action, ParamSchema, PluginInfo
from mirastack_sdk.describe import describe, param_dicts
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.respond import respond_map, respond_raw
from mirastack_sdk.runtime.current import current
from mirastack_sdk.serve import serve_async

TENANT = "824a1531-d24a-549c-8003-23b0f2d206cd"
Engines = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


class Sample(Plugin):
    """An agent with one action of each kind; `gate` holds `hold` back until it is set."""

    def __init__(self) -> None:
        self.requests: list[ExecuteRequest] = []
        self.configs: list[dict[str, str]] = []
        self.gate = asyncio.Event()
        self.changes = 0
        self.sick = ""

    def info(self) -> PluginInfo:
        return PluginInfo(
            name="sample",
            version="1.0.0",
            description="A sample agent",
            actions=[
                Action(
                    id=name,
                    description=f"does {name}",
                    permission=permission,
                    stages=["operate"],
                    input_params=params,
                )
                for name, permission, params in (
                    ("echo", "READ", [ParamSchema("n")]),
                    ("hold", "READ", []),
                    ("fail", "READ", []),
                    ("odd", "READ", []),
                    ("who", "READ", []),
                    ("change", "MODIFY", [ParamSchema("n", required=True)]),
                    ("wipe", "ADMIN", []),
                )
            ],
        )

    async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
        self.requests.append(req)
        match req.params["action"]:
            case "echo":
                return respond_map({"params": req.params, "values": req.values})
            case "hold":
                await self.gate.wait()
                return respond_map({"held": True})
            case "fail":
                raise RuntimeError("the backend said no")
            case "odd":
                return respond_raw(b"not json")
            case "who":
                return respond_map({"execution": current.get().execution_id, "step": current.get().step_id})
            case _:
                self.changes += 1
                return respond_map({"changes": self.changes})

    async def health_check(self) -> None:
        if self.sick:
            raise RuntimeError(self.sick)

    async def config_updated(self, config: dict[str, str]) -> None:
        if "refuse" in config:
            raise ValueError("that cannot be")
        self.configs.append(config)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the plugin's environment, and only that."""
    for name in [name for name in os.environ if name.startswith(("MIRASTACK_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MIRASTACK_PLUGIN_TENANT_SLUG", "acme")
    monkeypatch.setenv("MIRASTACK_PLUGIN_ADDR", "127.0.0.1:0")

    def more(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return more


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


@contextlib.asynccontextmanager
async def serving(plugin: Plugin) -> AsyncIterator[None]:
    """Serve `plugin`, and leave the engine at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve_async(plugin, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 15)


def grant(
    action: str, params: dict[str, Any], plugin: Plugin, *, grant_id: str = "g1", **changes: Any
) -> dict[str, Any]:
    declared = describe(plugin).action(action)
    assert declared is not None
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "run": "run-1",
        "step": "s",
        "turn": 1,
        "plugin": "sample",
        "version": "1.0.0",
        "action": action,
        "schema": seal.schema_digest(param_dicts(declared.input_params)),
        "permission": "ADMIN" if action == "wipe" else "MODIFY",
        "params": params,
        "requester": "usr-1",
        "expires_ms": time.time_ns() // 1_000_000 + 60_000,
    }
    return seal.grant(grant_id, seal.sealed_call(**(fields | changes)))


async def execute(
    engine: Any, action: str, params: dict[str, Any], **fields: Any
) -> messages.ExecuteResponse:
    request = messages.ExecuteRequest(
        **{
            "execution_id": "run-1",
            "step_id": "s",
            "action_id": action,
            "params_json": codec.with_action(codec.stringify(params), action),
            "tenant_id": TENANT,
            **fields,
        }
    )
    async with engine.plugin() as channel:
        return messages.ExecuteResponse.decode(
            await channel.unary(messages.plugin_path("Execute"), request.encode())
        )


def a_call(attempt_id: str, action: str, **fields: Any) -> link.Call:
    return link.Call(id=attempt_id, run="run-1", step="s", turn=1, attempt=1, action=action, **fields)
