"""Foreign peers, as observed: a Go agent, and an agent on the published Python wheel.

They share no code with what they are tested against.  Their strictness is the point: each refuses what the
real one refuses (plugin protocol, sections 2 to 4).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from packages.engine.tests.plugins.raw_http2 import RawClient, RawServer, Reply, Request, Response

PLUGIN = "/mirastack.plugin.v1.PluginService/"
ENGINE = "/mirastack.plugin.v1.EngineService/"
INTERNAL, UNKNOWN = 13, 2


def b64(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def go_info(name: str, **changes: Any) -> dict[str, Any]:
    """What a Go agent answers to Info: null lists, base64, capital keys inside."""
    inputs = [{"Name": "query", "Type": "string", "Required": True, "Description": "what to look for"}]
    action = {
        "description": "looks",
        "permission": 1,
        "stages": [8],
        "intents": None,
        "input_params": b64(inputs),
    }
    change = {"description": "deletes", "permission": 2, "stages": [7], "intents": None, "input_params": None}
    info = {
        "name": name,
        "version": "0.2.0",
        "description": "A Go agent",
        "type": 1,
        "permission": 1,
        "devops_stages": [8],
        "default_intents": None,
        "actions": [{"id": "query", **action}, {"id": "delete", **change}],
        "prompt_templates": None,
        "config_schema": [
            {"key": "url", "type": "string", "required": True, "default": "http://x", "description": "where"},
            {"key": "api_key", "type": "string", "default": "", "description": "a key", "is_secret": True},
        ],
        "metadata": None,
        "instance_id": "ignored",
    }
    return info | changes


@dataclass
class GoPlugin:
    """A Go agent.  `execute` decides what Execute answers; by default it echoes its parameters."""

    name: str = "go_agent"
    info: dict[str, Any] | None = None
    execute: Callable[[dict[str, Any]], Any] | None = None
    health: Callable[[], Any] | None = None
    broken: tuple[str, ...] = ()  # methods that answer INTERNAL
    requests: list[Request] = field(default_factory=list)
    executed: list[dict[str, Any]] = field(default_factory=list)
    configs: list[dict[str, Any]] = field(default_factory=list)
    healthy: bool = True
    port: int = 0

    async def __aenter__(self) -> GoPlugin:
        loop = asyncio.get_running_loop()
        self.servers: list[RawServer] = []

        def serve() -> RawServer:
            self.servers.append(RawServer(self._answer, "application/grpc+json"))
            return self.servers[-1]

        self._server = await loop.create_server(serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()

    def vanish(self) -> None:
        """The process is gone: connections break and nobody listens any more."""
        self._server.close()
        for server in self.servers:
            server._transport.abort()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _answer(self, request: Request) -> Reply:
        self.requests.append(request)
        method = request.path.removeprefix(PLUGIN)
        if request.headers["content-type"] != "application/grpc+json":
            return Reply(
                status=INTERNAL, text="grpc: error unmarshalling request: failed, want proto.Message"
            )
        if method in self.broken:
            return Reply(status=INTERNAL, text=f"{method} is broken")
        if method in ("Info", "GetSchema", "HealthCheck") and request.body != b"{}":
            return Reply(status=INTERNAL, text="unexpected end of JSON input")
        body = json.loads(request.body)
        match method:
            case "Info":
                return _reply(self.info or go_info(self.name))
            case "GetSchema":
                return _reply(
                    {"params_json_schema": "bnVsbA==", "result_json_schema": "bnVsbA==", "actions": None}
                )
            case "HealthCheck":
                if self.health is not None:
                    await self.health()
                return _reply(
                    {"healthy": self.healthy, "message": "" if self.healthy else "sick", "details": None}
                )
            case "ConfigUpdated":
                self.configs.append(body)
                return _reply({"acknowledged": True, "error": ""})
            case "Execute":
                return await self._execute(body)
            case _:
                return Reply(status=12, text="unknown method")

    async def _execute(self, body: dict[str, Any]) -> Reply:
        try:
            params = json.loads(base64.b64decode(body["params_json"] or "bnVsbA==", validate=True)) or {}
        except ValueError:
            return Reply(status=INTERNAL, text="illegal base64 data at input byte 0")
        if not all(isinstance(value, str) for value in params.values()):
            text = "json: cannot unmarshal number into Go value of type string"
            return Reply(status=INTERNAL, text=text)
        if not isinstance(body["execution_mode"], int):
            return Reply(status=INTERNAL, text="json: cannot unmarshal string into execution_mode")
        call = {**body, "params": params}
        self.executed.append(call)
        answer = {"echo": params} if self.execute is None else self.execute(call)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, Reply):
            return answer
        return go_success(answer)


def go_success(value: Any) -> Reply:
    return _reply({"success": True, "result_json": b64(value), "error": "", "duration_ms": 3})


def go_failure(text: str) -> Reply:
    return _reply({"success": False, "result_json": None, "error": text, "duration_ms": 3})


def _reply(value: Any) -> Reply:
    return Reply([json.dumps(value).encode()])


class Caller:
    """The engine's client of a foreign plugin."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw

    @classmethod
    async def go(cls, port: int, name: str = "go_agent") -> Caller:
        """As the Go SDK dials: +json, its name, its user agent."""
        metadata = {"x-plugin-name": name, "user-agent": "grpc-go/1.71.0"}
        return cls(await RawClient.connect(port, metadata=metadata))

    @classmethod
    async def wheel(cls, port: int) -> Caller:
        """As the published wheel dials: plain application/grpc, nothing that names it."""
        metadata = {"user-agent": "grpc-python/1.66.0 grpc-c/42.0.0"}
        return cls(await RawClient.connect(port, content_type="application/grpc", metadata=metadata))

    async def call(
        self,
        method: str,
        request: Mapping[str, Any],
        *,
        metadata: Mapping[str, str] = {},
        timeout_s: float = 10.0,
    ) -> Any:
        """The answer's JSON; an AssertionError names any other status."""
        response = await self.answer(
            method, json.dumps(request).encode(), metadata=metadata, timeout_s=timeout_s
        )
        assert response.status == 0, response
        return json.loads(response.body)

    async def answer(
        self, method: str, body: bytes, *, metadata: Mapping[str, str] = {}, timeout_s: float = 10.0
    ) -> Response:
        return await self.raw.call(ENGINE + method, body, metadata=metadata, timeout_s=timeout_s)

    async def register(
        self, plugin: str, address: str, tenant: str, *, instance: str = "i-1", type: int = 1
    ) -> Any:
        request = {"name": plugin, "version": "0.2.0", "grpc_addr": address, "plugin_type": type}
        return await self.call("RegisterPlugin", request | {"instance_id": instance, "tenant_id": tenant})

    async def close(self) -> None:
        await self.raw.close()


class WheelPlugin:
    """An agent on the published wheel, on grpcio: plain application/grpc, text where bytes belong.

    Execute can never work: its code calls `.get` on a message object.
    """

    def __init__(self, info: dict[str, Any] | None = None, *, declares_params: bool = False) -> None:
        self._said = info or {
            "name": "wheel_agent",
            "version": "1.0.0",
            "description": "An agent on the wheel",
            "permission": 1,
            "devops_stages": [8],
            "actions": [
                {"id": "look", "description": "looks", "permission": 1, "stages": [8], "intents": []}
            ],
        }
        self._declares_params = declares_params
        self._server = grpc.server(ThreadPoolExecutor(4))
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(getattr(self, f"_{name.lower()}"))
            for name in ("Info", "GetSchema", "HealthCheck", "Execute", "ConfigUpdated")
        }
        handler = grpc.method_handlers_generic_handler("mirastack.plugin.v1.PluginService", methods)
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.stop(0).wait()

    def _info(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        if json.loads(body):
            context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        if self._declares_params:
            context.abort(grpc.StatusCode.INTERNAL, "Failed to serialize response!")
        return json.dumps(self._said).encode()

    def _getschema(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.INTERNAL, "Failed to serialize response!")

    def _healthcheck(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        if json.loads(body):
            context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        return b'{"healthy": true}'

    def _execute(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        raise AttributeError("'ExecuteRequest' object has no attribute 'get'")

    def _configupdated(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        raise AttributeError("'ConfigUpdatedRequest' object has no attribute 'get'")
