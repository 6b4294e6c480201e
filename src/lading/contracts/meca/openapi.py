"""The executor's interface as OpenAPI 3.1: what ``/docs`` shows, and what the tests hold us to."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

__all__ = ["MOST", "RESPONSES", "describe"]

_WORD = "[a-z0-9]+([._-][a-z0-9]+)*"
_HOST = "[a-z0-9]+(-+[a-z0-9]+)*([.][a-z0-9]+(-+[a-z0-9]+)*)*"
_IMAGE: Final = (
    f"^({_HOST}(:[0-9]{{1,5}})?/)?{_WORD}(/{_WORD})*"
    "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)
"""The usual shape of an image's name (distribution's reference grammar, in short)."""

_OUTCOME: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"success": {"type": "boolean"}, "msg": {"type": "string"}},
    "required": ["success", "msg"],
    "additionalProperties": False,
}
_READY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}},
    "required": ["ready"],
}
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457, with what to do about it.",
    "properties": {
        "title": {"type": "string", "description": "The kind of error."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, to what, and why."},
        "instance": {"type": "string", "description": "urn:request: and the request's id."},
        "fix": {"type": "string"},
        "field": {"type": "string", "description": "Where in the request, as resource.cpu."},
        "logs": {"type": "string", "description": "The task's last lines."},
        "reply": {
            "type": "object",
            "properties": {"status": {"type": "integer"}, "body": {"type": "string"}},
            "description": "What the task itself answered.",
        },
    },
    "required": ["title", "status", "detail"],
}
_STATS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        name: {"type": kind}
        for name, kind in (
            ("total_cpu", "integer"),
            ("total_mem", "integer"),
            ("used_cpu", "number"),
            ("used_mem", "number"),
            ("task_cpu", "number"),
            ("task_mem", "integer"),
            ("task_used_cpu", "number"),
            ("task_used_mem", "number"),
            ("gpu_model", "string"),
            ("task_gpu", "integer"),
            ("task_used_gpu", "integer"),
        )
    },
}
_RESOURCE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "cpu": {"type": ["number", "null"], "minimum": 0.01, "default": 1, "description": "Cores."},
        "mem": {
            "type": ["number", "null"],
            "minimum": 6,
            "default": 128,
            "description": "MB (2^20 bytes).",
        },
        "use_gpu": {"type": ["boolean", "null"], "default": False},
        "gpu_count": {"type": ["integer", "null"], "minimum": 0, "default": 0},
        "use_sgx": {"type": ["boolean", "null"], "default": False},
    },
}
_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "id": {
            "type": "string",
            "pattern": _IMAGE,
            "maxLength": 255,
            "description": "The task's image.",
        },
        "resource": {"anyOf": [_RESOURCE, {"type": "null"}]},
        "runtime": {"enum": ["container", "microVM", "", None]},
        "input": {
            "description": "What the task gets as its request body: a string as it is, "
            "anything else as compact JSON."
        },
        "use_sgx": {"type": ["boolean", "null"]},
        "timeout": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "description": "Seconds the task may take; the operator's limit holds if it is less.",
        },
    },
    "required": ["id"],
}
MOST: Final = 1e12
"""The most that a reconfiguration may name, of anything."""


def _amount(description: str, **least: float) -> dict[str, Any]:
    return {"type": "number", "maximum": MOST, "description": description, **least}


_CHANGES: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "timeout": _amount("Minutes.", exclusiveMinimum=0),
        "cpu": _amount("Cores.", exclusiveMinimum=0),
        "mem": _amount("MB.", minimum=1),
        "has_gpu": {"type": "boolean"},
        "microVM_runtime": {"type": "string"},
    },
    "required": ["cpu", "mem"],
}


def _reply(description: str, schema: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema} if schema else {}}}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _reply(description, schema, "application/json")


_TEXT: Final[dict[str, Any]] = {"type": "string"}
_MAYBE: Final[dict[str, Any]] = {"type": ["string", "null"]}
_LISTING: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("id", "name", "description", "developer"), _TEXT),
        **dict.fromkeys(("cid", "image", "digest"), _MAYBE),
        "resource": {"type": "object"},
        "fee": {"type": "string", "pattern": "^[0-9]+[.][0-9]{6}$"},
    },
    "required": ["id", "resource", "developer", "fee"],
}
_TASKS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"tasks": {"type": "array", "items": _LISTING}},
    "required": ["tasks"],
}
_KEY: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 7517 and RFC 8037; exp: until when it signed.",
    "properties": dict.fromkeys(("kty", "crv", "x", "kid", "use", "alg"), _TEXT),
    "required": ["kty", "crv", "x", "kid"],
}
_NO_KEY: Final = _reply("This executor has no ledger.", _PROBLEM, "application/problem+json")
RESPONSES: Final[dict[str, dict[int | str, dict[str, Any]]]] = {
    "health": {200: _json("It answers.", {"type": "object"})},
    "ready": {
        200: _json("It takes work.", _READY),
        503: _json("It is paused, or ends.", _READY),
    },
    "stats": {200: _json("The figures; while paused, an outcome.", {"anyOf": [_OUTCOME, _STATS]})},
    "tasks": {200: _json("The tasks; fees are decimal numbers as text.", _TASKS)},
    "key": {200: _json("The key.", _KEY), 404: _NO_KEY},
    "keys": {
        200: _json(
            "The keys, the present one first.",
            {"type": "object", "properties": {"keys": {"type": "array", "items": _KEY}}},
        ),
        404: _NO_KEY,
    },
    "metrics": {200: _reply("Prometheus' text format.", _TEXT, "text/plain")},
    "empty": {200: {"description": "Done; the body is empty."}},
    "update-config": {
        200: _json("Whether it was changed, and if not, why.", _OUTCOME),
        400: _json("The body can't be used.", _TEXT),
    },
}

_ERRORS: Final = {
    400: "The request can't be used; names the field.",
    403: "The registry wants other credentials.",
    404: "The image is neither here nor at its registry, or not listed.",
    409: "Executed and billed before under this idempotency key; the reply is not kept any more.",
    413: "The request is too large.",
    422: "It asks for more than this host ever lends, or reuses an idempotency key.",
    501: "This host lacks the runtime or device asked for.",
    502: "The task, or the container engine, failed.",
    503: "No room: full, paused or stopping. Try again later.",
    504: "The task took too long to start or to answer.",
    507: "The task ran out of memory.",
}


_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255, "pattern": "^[ -~]*$"},
    "description": "The same key and request are executed, and billed, once.",
}


def _operation(summary: str, responses: dict[str, Any], tag: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "tags": [tag],
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _REQUEST}},
        },
        "responses": responses,
    }


def _execute_original() -> dict[str, Any]:
    return _operation(
        "Execute a task; 200 whatever happened",
        {
            "200": _json("The task's reply, or why it failed.", _OUTCOME),
            "400": _json("Not JSON, or no id; X-Lading-Error names the field.", _TEXT),
            "413": _json("The request is too large.", _OUTCOME),
        },
        "original",
    )


def _execute_honest() -> dict[str, Any]:
    problems = {
        str(status): _reply(text, _PROBLEM, "application/problem+json")
        for status, text in _ERRORS.items()
    }
    success = {"description": "The task's reply, byte for byte.", "content": {"*/*": {}}}
    return _operation(
        "Execute a task; the reply and an honest status", {"200": success, **problems}, "lading"
    )


def describe(app: FastAPI) -> None:
    """Make ``app.openapi`` describe everything, the plain routes included."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schema["paths"]["/"] = {"post": _execute_original()}
            schema["paths"]["/v1/execute"] = {"post": _execute_honest()}
            changes = schema["paths"]["/update-config"]["post"]
            changes["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": _CHANGES}},
            }
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
