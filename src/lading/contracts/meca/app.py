"""The executor's whole HTTP interface: the original's routes, and ours beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.routing import Route

import lading
from lading.contracts.meca import replies
from lading.contracts.meca.calls import Bodies, ExecuteCall, header_text
from lading.contracts.meca.front import Front, is_loopback
from lading.contracts.meca.openapi import MOST, RESPONSES, describe
from lading.contracts.meca.tokens import Tokens
from lading.errors import InputError, LadingError
from lading.units import MIB

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from lading.contracts.meca.billing import Billing
    from lading.contracts.meca.executor import Executor

__all__ = ["create_app"]

_BODIES = 8
"""How many bodies of the largest size may be held at once; smaller ones accordingly more."""


def create_app(
    executor: Executor, billing: Billing, tokens: Tokens, *, stop: Callable[[], None]
) -> ASGIApp:
    """Make the ASGI application.

    Parameters
    ----------
    executor : Executor
        Started, or about to be.
    billing : Billing
        Of that executor.
    tokens : Tokens
        Who may come in.
    stop : callable
        Called once the reply to ``POST /stop`` is on its way; ends the server.
    """
    app = FastAPI(title="Lading executor", version=lading.__version__, redoc_url=None)
    bodies = Bodies(limit=executor.options.max_input * MIB * _BODIES)
    hot = {
        "/": ExecuteCall(executor, billing, bodies, honest=False),
        "/v1/execute": ExecuteCall(executor, billing, bodies, honest=True),
    }
    app.router.routes += [Route(path, call, methods=["POST"]) for path, call in hot.items()]
    _add_looking(app, executor)
    _add_market(app, billing)
    _add_steering(app, executor, stop)
    describe(app)
    host = executor.options.listen.rpartition(":")[0]
    return Front(
        app,
        direct=hot,
        tokens=tokens,
        guard_host=is_loopback(host) and not tokens.needed,
    )


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type=replies.JSON)


def _add_looking(app: FastAPI, executor: Executor) -> None:
    @app.get("/health", responses=RESPONSES["health"], tags=["original"])
    async def health() -> Response:
        """Say that the executor answers; needs no token."""
        return _json(b'{\n    "status": "ok"\n}')

    @app.get("/ready", responses=RESPONSES["ready"], tags=["lading"])
    async def ready() -> Response:
        """Say whether it takes work, for a load balancer's probe; needs no token."""
        if executor.ready:
            return _json(b'{\n    "ready": true\n}')
        return _json(b'{\n    "ready": false\n}', 503)

    @app.get("/stats", responses=RESPONSES["stats"], tags=["original"])
    async def stats() -> Response:
        """Tell what the host has, what tasks may use, and what they use."""
        figures = await executor.stats()
        return _json(replies.NO_STATS if figures is None else replies.indented(figures))

    @app.get("/metrics", response_class=Response, responses=RESPONSES["metrics"], tags=["lading"])
    async def metrics() -> Response:
        """Give Prometheus its figures."""
        return Response(
            executor.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )


def _add_market(app: FastAPI, billing: Billing) -> None:
    @app.get("/v1/tasks", responses=RESPONSES["tasks"], tags=["lading"])
    async def tasks() -> Response:
        """List the tasks that are offered here, with their fees."""
        return _json(replies.indented({"tasks": billing.offers()}))

    @app.get("/v1/key", responses=RESPONSES["key"], tags=["lading"])
    async def key() -> Response:
        """Give the public key of this host, which signs receipts (JSON Web Key)."""
        return _keys(billing, lambda keys: keys[0])

    @app.get("/v1/keys", responses=RESPONSES["keys"], tags=["lading"])
    async def keys() -> Response:
        """Give every public key that this host ever signed with (JSON Web Key Set)."""
        return _keys(billing, lambda keys: {"keys": keys})


def _keys(billing: Billing, shown: Callable[[list[dict[str, Any]]], Any]) -> Response:
    if not (found := billing.public_keys()):
        body = b'{"title": "no key", "status": 404, "detail": "this executor has no ledger"}'
        return Response(body, 404, media_type="application/problem+json")
    return _json(replies.indented(shown(found)))


def _add_steering(app: FastAPI, executor: Executor, stop: Callable[[], None]) -> None:
    @app.post("/pause", response_class=Response, responses=RESPONSES["empty"], tags=["original"])
    async def pause() -> Response:
        """Remove the warm containers and refuse work, until unpaused."""
        await executor.pause()
        return Response()

    @app.post("/unpause", response_class=Response, responses=RESPONSES["empty"], tags=["original"])
    async def unpause() -> Response:
        """Take work again."""
        await executor.unpause()
        return Response()

    @app.post("/update-config", responses=RESPONSES["update-config"], tags=["original"])
    async def update_config(request: Request) -> Response:
        """Change what tasks may use, while paused."""
        try:
            changes = _read_changes(await _read_body(request))
        except InputError as error:
            reply = _json(replies.BAD_CONFIG, 400)
            reply.headers["x-lading-error"] = header_text(error).decode("latin-1")
            return reply
        try:
            text = await executor.update(changes)
        except LadingError as error:
            return _json(replies.outcome(success=False, message=str(error)))
        return _json(replies.outcome(success=True, message=text))

    @app.post("/stop", response_class=Response, responses=RESPONSES["empty"], tags=["original"])
    async def stop_executor() -> Response:
        """Answer, then finish what runs, remove every container, and end the process."""
        return _StopAfter(stop)


class _StopAfter(Response):
    """An empty reply that ends the server once it is sent."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__(headers={"connection": "close"})
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        self._stop()


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _CHANGES_SIZE:
            raise InputError("", f"the body is larger than {_CHANGES_SIZE} bytes")
    return body


_CHANGES_SIZE = 64 * 1024
_CHANGEABLE = {
    "timeout": "timeout",
    "cpu": "cpu",
    "mem": "mem",
    "has_gpu": "has_gpu",
    "microVM_runtime": "microvm_runtime",
}


def _read_changes(raw: bytes) -> dict[str, Any]:
    """Read a reconfiguration: ``cpu`` and ``mem`` must be there; what isn't said stays."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError("", f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError("", "the body must be a JSON object")
    changes = {ours: content[theirs] for theirs, ours in _CHANGEABLE.items() if theirs in content}
    for name in ("cpu", "mem"):
        if name not in changes:
            raise InputError(name, "is missing")
    for name in ("cpu", "mem", "timeout"):
        value = changes.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(name, f"must be a number, not {value!r:.80}")
        if not 0 < value <= MOST:
            raise InputError(name, f"must be more than 0, and at most {MOST:g}")
    changes["mem"] = int(changes["mem"])
    if changes["mem"] < 1:
        raise InputError("mem", "must be at least 1 MB")
    if not isinstance(changes.get("has_gpu", False), bool):
        raise InputError("has_gpu", "must be true or false")
    if not isinstance(changes.get("microvm_runtime", ""), str):
        raise InputError("microVM_runtime", "must be the name of an OCI runtime")
    return changes
