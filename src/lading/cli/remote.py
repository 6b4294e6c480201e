"""``lading run --on URL``: a task on an executor elsewhere, by ``POST /v1/execute``."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lading import errors
from lading.cli import loop, printing
from lading.cli.places import IPFS, PlaceOptions, looks_like_cid
from lading.cli.run_options import RunOptions, positive
from lading.cli.wish import named_folder, only, read_input
from lading.errors import ExecutorDenied, ExecutorError, InputError, LadingError, RunError
from lading.settings import environment
from lading.units import MIB, cores, format_seconds, size

if TYPE_CHECKING:
    from lading.contracts.meca.folder import TaskFolder
    from lading.http1 import Connection

__all__ = ["run_remotely"]

_MOST_REPLY = 4 << 30
_CONNECT_S = 15.0
_LOCAL_ONLY = ("start_timeout", "network", "capabilities", "tag", "build_arg", "pull")
"""Knobs of ``lading run`` that an executor's operator decides, or that are for building here."""
_RUNTIMES = ("microVM", "container")
_ALIVE = ((4, 30), (5, 10), (6, 6))
"""TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT (linux/tcp.h), in seconds: an executor whose machine
went away is noticed after a minute and a half, and one that only takes long is waited for."""


@dataclass(frozen=True, slots=True)
class Call:
    """One execution, ready to be sent.

    Parameters
    ----------
    address : str
        Of the executor, ``http://HOST:PORT``, with nothing after it.
    id : str
        The request's ``id``.
    body : bytes
        The whole request, JSON.
    headers : tuple of (str, str)
    """

    address: str
    id: str
    body: bytes
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an executor answered; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def run_remotely(
    task: str, options: RunOptions, place: PlaceOptions, *, keep: bool, as_json: bool
) -> None:
    """Run a task on an executor elsewhere, and tell of it.

    Parameters
    ----------
    task : str
        What the executor is asked for: an image's name, a CID, or a folder, which stands for the
        CID that it has when it is published as it is.

    Raises
    ------
    InputError
        What was given can't be sent.
    ExecutorError
        Nothing answers there, or not as an executor does.
    LadingError
        The executor's refusal, or the task's failure, as the executor tells of it.
    """
    _refuse(options, keep=keep)
    folder = None if looks_like_cid(task) else named_folder(task)
    call = Call(
        address=_address(place.on or ""),
        id=(name := _id(task, folder)),
        body=_body(name, folder, options),
        headers=tuple(_headers(place)),
    )
    answer = loop.run(lambda _: _send(call))
    if answer.status != 200:
        if place.receipt is not None:
            printing.note(
                f"no receipt: only what succeeds is owed, and {place.receipt} not written"
            )
        error = _told(answer, call)
        if folder is not None and isinstance(error, errors.ContentNotFound):
            error.fix = f"was it published as it is now? `lading push {task} --to {IPFS}`"
        raise error
    _show(call, answer, as_json=as_json)
    _keep_receipt(place, answer, call)


def _refuse(options: RunOptions, *, keep: bool) -> None:
    given = [
        item.name for item in fields(RunOptions) if getattr(options, item.name) != item.default
    ]
    for name in [name for name in _LOCAL_ONLY if name in given] + ["keep"] * keep:
        flag = "--" + name.replace("_", "-")
        raise InputError(flag, "can't be chosen for a task that runs --on another executor")
    positive("--timeout", options.timeout)
    if options.runtime not in (None, *_RUNTIMES):
        raise InputError(
            "--runtime",
            f"an executor knows {' and '.join(_RUNTIMES)}, and no {options.runtime!r}",
        )


def _address(url: str) -> str:
    """Check an executor's address.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good or parts.path not in ("", "/") or parts.query or parts.username:
        raise InputError("--on", f"{url!r} is no address", fix="write http://HOST:2591")
    return url.rstrip("/")


def _id(task: str, folder: TaskFolder | None) -> str:
    if folder is None:
        return task
    from lading.content.adding import add_path  # noqa: PLC0415

    cid = add_path(folder.path).cid
    printing.note(f"the folder is {IPFS}{cid}")
    return f"{IPFS}{cid}"


def _body(name: str, folder: TaskFolder | None, options: RunOptions) -> bytes:
    """Write the request as the contract has it; what isn't said, the task or the executor says."""
    data = read_input(only(options.input), folder, name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "--input", f"is not UTF-8 at byte {error.start}: an executor's input is text"
        ) from None
    request: dict[str, Any] = {"id": name, "input": text}
    if resource := _resource(options):
        request["resource"] = resource
    if options.runtime is not None:
        request["runtime"] = options.runtime
    if options.timeout != RunOptions().timeout:
        request["timeout"] = options.timeout
    return json.dumps(request).encode()


def _resource(options: RunOptions) -> dict[str, Any]:
    resource: dict[str, Any] = {}
    if options.cpu is not None:
        resource["cpu"] = cores(options.cpu, "--cpu")
    if options.memory is not None:
        resource["mem"] = size(options.memory, "--memory") / MIB
    if options.gpus is not None:
        resource |= {"use_gpu": options.gpus > 0, "gpu_count": options.gpus}
    if options.sgx is not None:
        resource["use_sgx"] = options.sgx
    return resource


def _headers(place: PlaceOptions) -> list[tuple[str, str]]:
    found = [("content-type", "application/json")]
    if token := environment().get("LADING_TOKEN"):
        found.append(("authorization", f"Bearer {_plain('LADING_TOKEN', token)}"))
    if place.idempotency_key is not None:
        key = _plain("--idempotency-key", place.idempotency_key)
        found.append(("idempotency-key", key))
    return found


def _plain(name: str, value: str) -> str:
    """Check what becomes a header.

    Raises
    ------
    InputError
        It is empty, or holds what no header can.
    """
    if not value.isascii() or not value.isprintable() or value != value.strip() or not value:
        raise InputError(name, "must be printable ASCII, without spaces around it")
    return value


async def _send(call: Call) -> Answer:
    from lading.http1 import Client  # noqa: PLC0415

    parts = urlsplit(call.address)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    async def dial() -> Connection:
        return await _dial(host, port, secure=parts.scheme == "https")

    began = time.perf_counter()
    with printing.Live(f"{call.id} on {call.address}") as live:
        live("waiting for the reply")
        try:
            async with Client(dial, host=parts.netloc, idle=1.0) as client:
                response, body = await client.request(
                    "POST", "/v1/execute", call.headers, call.body, limit=_MOST_REPLY
                )
        except TimeoutError:
            raise _unreachable(call, f"no connection within {format_seconds(_CONNECT_S)}") from None
        except OSError as error:
            # asyncio's own words name the address again, and hide the reason.
            code = error.errno or 0
            why = os.strerror(code) if code > 0 else error.strerror or str(error)
            raise _unreachable(call, why) from error
    return Answer(response.status, response.headers, body, time.perf_counter() - began)


async def _dial(host: str, port: int, *, secure: bool) -> Connection:
    import socket  # noqa: PLC0415

    from lading.http1 import Connection  # noqa: PLC0415

    tls = None
    if secure:
        import ssl  # noqa: PLC0415

        tls = ssl.create_default_context()
    create = asyncio.get_running_loop().create_connection
    async with asyncio.timeout(_CONNECT_S):
        transport, connection = await create(Connection, host, port, ssl=tls)
    opened = transport.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _ALIVE:
        opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection


def _unreachable(call: Call, why: str) -> ExecutorError:
    return ExecutorError(
        f"no executor can be asked at {call.address}: {why}",
        fix="is it running (lading serve), and does it --listen where you ask it?",
    )


def _told(answer: Answer, call: Call) -> LadingError:
    """Make the error that an executor's reply tells of (RFC 9457, as ``/v1/execute`` writes it)."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("detail"), str):
        return ExecutorError(
            f"what answers at {call.address} is no Lading executor: HTTP status {answer.status}",
            fix="--on takes the address that `lading serve` prints",
        )
    detail, fix = document["detail"], str(document.get("fix") or "")
    if answer.status == 401:
        fix = "set LADING_TOKEN to the token that its operator gave you"
        return ExecutorDenied(f"{call.address}: {detail}", fix=fix)
    kind = getattr(errors, str(document.get("title")), None)
    if not isinstance(kind, type) or not issubclass(kind, LadingError):
        return ExecutorError(f"{call.address}: {detail}", fix=fix)
    # Its own constructor would put the message together from parts; here it is whole.
    error: LadingError = kind.__new__(kind, detail)
    LadingError.__init__(error, detail, fix=fix)
    if isinstance(error, RunError):
        error.logs = str(document.get("logs") or "")
    if isinstance(error, errors.TaskFailed):
        reply = document.get("reply")
        error.body = str(reply.get("body") if isinstance(reply, dict) else "").encode()
    return error


def _show(call: Call, answer: Answer, *, as_json: bool) -> None:
    headers = answer.headers
    if not as_json:
        printing.result(answer.body)
        # What was executed before, with the same key, is answered without a container.
        start = headers.get("x-lading-start") or "as before"
        printing.note(f"answered in {format_seconds(answer.seconds)}, {start}, by {call.address}")
        return
    value: dict[str, Any] = {
        "task": call.id,
        "executor": call.address,
        "container": headers.get("x-lading-container"),
        "start": headers.get("x-lading-start"),
        "content_type": headers.get("content-type"),
        "call_seconds": round(answer.seconds, 6),
        "receipt": headers.get("x-lading-receipt"),
    }
    try:
        value["reply"] = answer.body.decode("utf-8")
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415  # JSON has no bytes

        value["reply_base64"] = base64.b64encode(answer.body).decode()
    printing.json(value)


def _keep_receipt(place: PlaceOptions, answer: Answer, call: Call) -> None:
    if place.receipt is None:
        return
    receipt = answer.headers.get("x-lading-receipt")
    if not receipt:
        printing.warn(f"{call.address} sent no receipt: {place.receipt} is not written")
        return
    path = Path(place.receipt).expanduser()
    try:
        path.write_text(receipt + "\n", encoding="ascii")
    except OSError as error:
        raise InputError("--receipt", f"{path} can't be written: {error.strerror}") from None
    verify = f"lading receipt verify {path} --key {call.address}"
    printing.note(f"receipt: {path}; `{verify}` verifies it")
