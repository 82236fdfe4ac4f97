"""The OpenAPI document, made from the routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from headway.api.rest.exchange import Nothing, RunbookText

if TYPE_CHECKING:
    from headway.api.rest.routes import Route

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "kind", "message", "details"],
            "properties": {
                "code": {"type": "string"},
                "kind": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object"},
            },
        }
    },
}


def document(routes: Sequence[Route[Any]], version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the API below the prefix."""
    types = {route.answer for route in routes if route.answer} | {
        route.body for route in routes if route.body not in (Nothing, RunbookText)
    }
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"/api/v1{route.path}", {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headway", "version": version},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route[Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": (route.serve.__doc__ or "").partition("\n")[0],
        "operationId": _operation_id(route),
        "x-least-role": route.role,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", route.path)
        ]
        + [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in route.query.items()
        ],
        "responses": {str(route.status): _answer(route), "default": _content(_ref("Error"), "Refused.")},
        "security": [] if route.role == "none" else [{"token": []}],
    }
    if route.body is RunbookText:
        text = {"application/yaml": {"schema": {"type": "string"}}}
        operation["requestBody"] = {"required": True, "content": text}
    elif route.body is not Nothing:
        required = any(field.required for field in msgspec.structs.fields(route.body))
        content = {"application/json": {"schema": _ref(route.body.__name__)}}
        operation["requestBody"] = {"required": required, "content": content}
    return operation


def _answer(route: Route[Any]) -> dict[str, Any]:
    if route.answer is None:
        return {"description": "Done."}
    if route.stream:
        return {"description": "Server-sent events.", "content": {"text/event-stream": {}}}
    item = _ref(route.answer.__name__)
    if not route.many:
        return _content(item, "Done.")
    page = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}},
    }
    return _content(page, "A page.")


def _content(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation_id(route: Route[Any]) -> str:
    words = re.findall(r"\w+", route.path)
    return "_".join([route.method.lower(), *words])
