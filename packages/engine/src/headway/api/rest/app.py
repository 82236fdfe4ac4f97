"""The ASGI application: for each route, authenticate, read, call its function, and answer.

Errors of the tree leave as they are; anything else is a defect, logged under an id that the answer names.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from headway_wire.errors import Broken, HeadwayError, Invalid, NotFound, Unauthenticated
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Mounted
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headway.api.rest import openapi, system
from headway.api.rest.exchange import Exchange, Reply, check_query, read_body
from headway.api.rest.routes import NOBODY, PREFIX, Route, routes
from headway.api.rest.services import Services
from headway.api.rest.system import Meters
from headway.service.access import Actor

log = logging.getLogger("headway.rest")

STATUS_BY_CODE = {"body_too_large": 413, "unsupported_media_type": 415, "method_not_allowed": 405}

SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)

ANYBODY = Actor("", "", NOBODY)


def build_app(services: Services) -> ASGIApp:
    """The whole API of one engine."""
    meters = Meters(services)
    table = routes()
    document = openapi.document(table, services.version)
    mounted = [
        Mounted(PREFIX + route.path, _endpoint(route, services, meters), methods=[route.method])
        for route in table
    ]
    mounted += [
        Mounted("/healthz", system.healthz(services), methods=["GET"]),
        Mounted("/metrics", meters.render, methods=["GET"]),
        Mounted("/openapi.json", system.constant(document), methods=["GET"]),
    ]
    handlers: dict[Any, Any] = {HTTPException: _no_route}
    return SecurityHeaders(Starlette(routes=mounted, exception_handlers=handlers))


def _endpoint(
    route: Route[Any], services: Services, meters: Meters
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        began = time.perf_counter()
        status = 499  # What is counted when the client leaves, or the engine, before there is an answer.
        meters.began(route)
        try:
            response = await _answered(route, services, request)
            status = response.status_code
            return response
        finally:
            meters.served(route, status, time.perf_counter() - began)

    return endpoint


async def _answered(route: Route[Any], services: Services, request: Request) -> Response:
    try:
        return await _serve(route, services, request)
    except HeadwayError as error:
        return error_response(error)
    except ClientDisconnect:
        return Response(status_code=499)  # Nobody reads it.
    except Exception:  # noqa: BLE001  The edge of the process: nothing may leave as a stack trace.
        return error_response(_defect(route))


async def _serve(route: Route[Any], services: Services, request: Request) -> Response:
    actor = ANYBODY if route.role == NOBODY else await _authenticate(services, request)
    check_query(request, route.query)
    body = await read_body(request, route.body, bytes_max=route.bytes_max)
    answer = await route.serve(Exchange(services, actor, request, body))
    return answer if isinstance(answer, Response) else reply_response(answer)


async def _authenticate(services: Services, request: Request) -> Actor:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send a token: Authorization: Bearer <access token>", code="token_missing")
    tenant = request.headers.get("x-tenant", "").strip()
    return await services.identity.authenticate(token.strip(), tenant=tenant)


def reply_response(reply: Reply) -> Response:
    """A reply as HTTP."""
    if reply.status == 204:
        return Response(status_code=204)
    return Response(msgspec.json.encode(reply.value), reply.status, media_type="application/json")


def error_response(error: HeadwayError) -> Response:
    """An error as HTTP: its kind decides the status, except for a few codes."""
    headers = {}
    wait_ms = error.facts.get("retry_after_ms")
    if isinstance(wait_ms, int):
        headers["retry-after"] = str(math.ceil(wait_ms / 1_000))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    status = STATUS_BY_CODE.get(error.code, error.http_status)
    body = msgspec.json.encode({"error": error.to_dict()})
    return Response(body, status, headers=headers, media_type="application/json")


def _defect(route: Route[Any]) -> Broken:
    id = secrets.token_hex(6)
    log.exception("defect %s while serving %s %s", id, route.method, route.path)
    return Broken(f"the engine made a mistake; its log has the details under {id}", facts={"id": id})


async def _no_route(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        text = f"{request.method} is not possible here; possible is {allowed}"
        response = error_response(Invalid(text, code="method_not_allowed"))
        response.headers["allow"] = allowed
        return response
    if error.status_code == 404:
        return error_response(NotFound(f"there is nothing at {request.url.path}", code="unknown_path"))
    return error_response(Invalid(str(error.detail), code="wrong_request"))


class SecurityHeaders:
    """Adds the headers that make a browser careful to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; only HTTP is served at all."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS]
            await send(message)

        if scope["type"] == "http":
            await self._app(scope, receive, send_with_headers)
