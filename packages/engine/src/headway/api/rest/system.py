"""What needs no token: health and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from headway_wire.errors import HeadwayError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from headway.api.rest.services import Services
from headway.ports import OPEN_STATUSES

if TYPE_CHECKING:
    from headway.api.rest.routes import Route

SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
COMPONENTS = ("store", "cache", "grpc", "llm")

Endpoint = Callable[[Request], Awaitable[Response]]


def healthz(services: Services) -> Endpoint:
    """Whether the engine works: 200 even when degraded, 503 only when the store is unusable."""

    async def answer(_: Request) -> Response:
        components = dict.fromkeys(COMPONENTS, "off") | dict(services.components())
        components["store"] = await _store(services)
        well = all(state in ("ok", "off") for state in components.values())
        body = {
            "status": "ok" if well else "degraded",
            "version": services.version,
            "components": components,
        }
        status = 200 if components["store"] == "ok" else 503
        return Response(msgspec.json.encode(body), status, media_type="application/json")

    return answer


async def _store(services: Services) -> str:
    try:
        await services.store.count(statuses=("queued",))
    except HeadwayError as error:
        return error.message
    return "ok"


def constant(value: Any) -> Endpoint:
    """Always the same JSON."""
    body = msgspec.json.encode(value)

    async def answer(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return answer


class Meters:
    """What `/metrics` shows.  No tenant and no name of a person or workflow is in it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "headway_http_requests",
            "Requests served.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._open = Gauge(
            "headway_http_requests_in_flight", "Requests being served.", ["route"], registry=self._registry
        )
        self._seconds = Histogram(
            "headway_http_request_seconds",
            "Time until the answer began.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._runs = Gauge("headway_runs", "Runs that are not over.", ["status"], registry=self._registry)
        build = Gauge("headway_build", "The version that runs.", ["version"], registry=self._registry)
        build.labels(services.version).set(1)

    def began(self, route: Route[Any]) -> None:
        """A request came in; `served` follows."""
        self._open.labels(route.path).inc()

    def served(self, route: Route[Any], status: int, seconds: float) -> None:
        """It was answered, or its stream began."""
        self._open.labels(route.path).dec()
        self._requests.labels(route.method, route.path, status).inc()
        self._seconds.labels(route.method, route.path).observe(seconds)

    async def render(self, _: Request) -> Response:
        """All meters as Prometheus text."""
        for status in OPEN_STATUSES:
            self._runs.labels(status).set(await self._services.store.count(statuses=(status,)))
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
