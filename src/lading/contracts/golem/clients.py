"""Clients of an application's requestor and provider sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from lading.contracts.golem.proto import golem_task_api_pb2 as messages
from lading.contracts.golem.structs import Infrastructure, Subtask, Task, VerifyResult
from lading.contracts.golem.tls import ClientTls
from lading.errors import AppError, AppGone, AppShutDown, NotReady

__all__ = ["ProviderAppClient", "ProviderCalls", "RequestorAppClient", "RequestorCalls"]

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # What one client met at an address is not what the next one meets.
    ("grpc.use_local_subchannel_pool", 1),
    # An application is on this host, or where a relay leads.
    ("grpc.enable_http_proxy", 0),
)
_HEALTH = "/grpc.health.v1.Health/Check"
_ASK_AGAIN = 0.005
"""How long between two looks for a server that is not there yet, in seconds."""
_ANSWER = 1.0
"""How long a server that took a connection may be silent, in seconds."""
_NOBODY = "nothing listens there"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How HTTP/2 begins: the preface, and empty settings."""

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RequestorCalls(Protocol):
    """What one can ask of a requestor's application.

    Each raises :class:`lading.errors.AppError` where the application says no or breaks a rule of
    the contract, and :class:`lading.errors.AppGone` where it ended in the middle of the call.
    """

    async def create_task(
        self, task_id: str, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        """Begin a task."""

    async def has_pending_subtasks(self, task_id: str) -> bool:
        """Ask whether there is work to hand out."""

    async def next_subtask(
        self, task_id: str, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Ask for a piece of work; None: this node gets nothing."""

    async def verify(self, task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        """Ask for the verdict on a result, and why."""

    async def discard_subtasks(self, task_id: str, subtask_ids: list[str]) -> list[str]:
        """Have results forgotten; return the ids of all that are gone with them."""

    async def run_benchmark(self) -> float:
        """Ask how fast the machine is."""

    async def abort_task(self, task_id: str) -> None:
        """Give a task up."""

    async def abort_subtask(self, task_id: str, subtask_id: str) -> None:
        """Give a subtask up."""

    async def shutdown(self) -> None:
        """End the application, in good order."""


class ProviderCalls(Protocol):
    """What one can ask of a provider's application; errors as of :class:`RequestorCalls`."""

    async def compute(self, task_id: str, subtask_id: str, subtask_params: dict[str, Any]) -> Path:
        """Have a subtask computed; return its result's path, relative to the task's directory."""

    async def run_benchmark(self) -> float:
        """Ask how fast the machine is."""

    async def shutdown(self) -> None:
        """End the application, in good order."""


class AppClient:
    """What both clients are made of; use one of them.

    Parameters
    ----------
    target : str
        Where the application listens, as gRPC says it: ``host:port``, ``unix:/path``.
    tls : ClientTls or None
        For an application that has TLS.
    """

    service: ClassVar[str]
    """The name of the service, without its package."""

    def __init__(self, target: str, *, tls: ClientTls | None = None) -> None:
        self.target = target
        self._tls = tls
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._in_flight: set[Any] = set()
        self._shutting_down = False
        self._seen = _NOBODY
        """What became of the last look for the application."""

    @classmethod
    async def connect(
        cls, target: str, *, tls: ClientTls | None = None, wait: float = 15.0
    ) -> Self:
        """Wait until an application says that it is ready, and return its client.

        Parameters
        ----------
        target : str
            Where it listens, as gRPC says it: ``host:port``, ``unix:/path``.
        tls : ClientTls or None
            For an application that has TLS.
        wait : float
            For how long, in seconds.

        Raises
        ------
        NotReady
            If it is not ready in that time.
        AppError
            If what answers has no health service.
        """
        client = cls(target, tls=tls)
        try:
            await client._become_ready(wait)
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        channel, self._channel, self._methods = self._channel, None, {}
        if channel is not None:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run_benchmark(self) -> float:
        """Ask how fast the machine is for such tasks."""
        reply = await self._call("RunBenchmark", messages.RunBenchmarkRequest())
        return float(reply.score)

    async def shutdown(self) -> None:
        """End the application, in good order; calls in flight raise :class:`AppShutDown`.

        One that is gone already is what was asked for.
        """
        self._shutting_down = True
        try:
            with contextlib.suppress(AppGone):
                await self._call("Shutdown", messages.ShutdownRequest())
        finally:
            for call in tuple(self._in_flight):
                call.cancel()

    async def _call(self, name: str, request: Any) -> Any:
        try:
            call = self._methods[name](request)
        except KeyError:
            raise AppGone(name, "UNAVAILABLE", "this client is closed") from None
        self._in_flight.add(call)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._translated(name, error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._shutting_down and not (task and task.cancelling()):
                raise self._shut_down(name) from None
            raise
        finally:
            self._in_flight.discard(call)

    def _translated(self, name: str, error: grpc.aio.AioRpcError) -> AppError:
        code, text = error.code(), error.details() or "it said nothing"
        status = code.name
        # CANCELLED, not by us: a server that ends cancels what it is doing.
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            if self._shutting_down:
                return self._shut_down(name)
            return AppGone(name, status, f"the application at {self.target} is gone: {text}")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            text = f"the application has no such call: {text}"
            return AppError(name, status, text, fix="was it started as the other side?")
        return AppError(name, status, text)

    @staticmethod
    def _shut_down(name: str) -> AppShutDown:
        return AppShutDown(name, "CANCELLED", "the application was told to end meanwhile")

    def _open(self) -> None:
        options: list[tuple[str, Any]] = list(_OPTIONS)
        if self.target.startswith(("unix:", "unix-abstract:")):
            # Otherwise it is the escaped path, which some servers refuse.
            options.append(("grpc.default_authority", "localhost"))
        if self._tls is None:
            channel = grpc.aio.insecure_channel(self.target, options)
        else:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
            channel = grpc.aio.secure_channel(self.target, self._tls.credentials(), options)
        package = messages.DESCRIPTOR.package
        self._channel = channel
        self._methods = {
            method.name: channel.unary_unary(
                f"/{package}.{self.service}/{method.name}",
                request_serializer=getattr(messages, method.input_type.name).SerializeToString,
                response_deserializer=getattr(messages, method.output_type.name).FromString,
            )
            for method in messages.DESCRIPTOR.services_by_name[self.service].methods
        }

    async def _become_ready(self, wait: float) -> None:
        """Ask often: a gRPC channel that met nobody would not look again for a second."""
        try:
            async with asyncio.timeout(wait):
                while True:
                    if await self._is_there() and await self._is_serving():
                        return
                    await asyncio.sleep(_ASK_AGAIN)
        except TimeoutError:
            raise NotReady(
                f"the application at {self.target} was not ready within {wait:g} s: {self._seen}"
            ) from None

    async def _is_there(self) -> bool:
        try:
            connection = await _connect(self.target)
        except OSError:
            self._seen = _NOBODY
            return False
        if self._seen == _NOBODY:
            self._seen = "it does not answer"
        if connection is None:
            return True
        try:
            # A server with TLS waits for the client to begin, with what it takes for TLS.
            return self._tls is not None or await _is_answered(connection)
        finally:
            # There is nothing to say, so nothing to wait for either.
            connection[1].transport.abort()

    async def _is_serving(self) -> bool:
        """Ask once, on a new connection where the last one failed."""
        if self._channel is None:
            self._open()
        assert self._channel is not None
        check = self._channel.unary_unary(
            _HEALTH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = await check(health_pb2.HealthCheckRequest())
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                text = "what answers there has no health service, so it is no application"
                raise AppError("Check", "UNIMPLEMENTED", text) from None
            await self.close()
            self._seen = f"{error.code().name}: {error.details()}"
            return False
        status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
        self._seen = f"it says {status}"
        return status == "SERVING"


class RequestorAppClient(AppClient):
    """A client of an application's requestor side: :class:`RequestorCalls`, over gRPC."""

    service = "RequestorApp"

    async def create_task(
        self, task_id: str, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        """Begin a task."""
        reply = await self._call(
            "CreateTask",
            messages.CreateTaskRequest(
                task_id=task_id,
                max_subtasks_count=max_subtasks_count,
                task_params_json=json.dumps(task_params),
            ),
        )
        return Task(
            env_id=reply.env_id,
            prerequisites=_object("CreateTask", "prerequisites_json", reply.prerequisites_json),
            inf_requirements=Infrastructure(reply.inf_requirements.min_memory_mib),
        )

    async def has_pending_subtasks(self, task_id: str) -> bool:
        """Ask whether there is work to hand out."""
        reply = await self._call(
            "HasPendingSubtasks", messages.HasPendingSubtasksRequest(task_id=task_id)
        )
        return bool(reply.has_pending_subtasks)

    async def next_subtask(
        self, task_id: str, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Ask for a piece of work; None: this node gets nothing."""
        reply = await self._call(
            "NextSubtask",
            messages.NextSubtaskRequest(
                task_id=task_id, subtask_id=subtask_id, opaque_node_id=opaque_node_id
            ),
        )
        if not reply.HasField("subtask"):
            return None
        text = reply.subtask.subtask_params_json
        return Subtask(
            params=_object("NextSubtask", "subtask_params_json", text),
            resources=list(reply.subtask.resources),
        )

    async def verify(self, task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        """Ask for the verdict on a result, and why."""
        reply = await self._call(
            "Verify", messages.VerifyRequest(task_id=task_id, subtask_id=subtask_id)
        )
        try:
            result = VerifyResult(reply.result)
        except ValueError:
            raise AppError("Verify", "OK", f"there is no verdict {reply.result}") from None
        return result, reply.reason or None

    async def discard_subtasks(self, task_id: str, subtask_ids: list[str]) -> list[str]:
        """Have results forgotten; return the ids of all that are gone with them."""
        reply = await self._call(
            "DiscardSubtasks",
            messages.DiscardSubtasksRequest(task_id=task_id, subtask_ids=subtask_ids),
        )
        return list(reply.discarded_subtask_ids)

    async def abort_task(self, task_id: str) -> None:
        """Give a task up."""
        await self._call("AbortTask", messages.AbortTaskRequest(task_id=task_id))

    async def abort_subtask(self, task_id: str, subtask_id: str) -> None:
        """Give a subtask up."""
        await self._call(
            "AbortSubtask", messages.AbortSubtaskRequest(task_id=task_id, subtask_id=subtask_id)
        )


class ProviderAppClient(AppClient):
    """A client of an application's provider side: :class:`ProviderCalls`, over gRPC."""

    service = "ProviderApp"

    async def compute(self, task_id: str, subtask_id: str, subtask_params: dict[str, Any]) -> Path:
        """Have a subtask computed; return its result's path, relative to the task's directory."""
        reply = await self._call(
            "Compute",
            messages.ComputeRequest(
                task_id=task_id,
                subtask_id=subtask_id,
                subtask_params_json=json.dumps(subtask_params),
            ),
        )
        if not reply.output_filepath:
            raise AppError("Compute", "OK", "the application named no result")
        return Path(reply.output_filepath)


def _object(call: str, field: str, text: str) -> dict[str, Any]:
    """Read an object of JSON that an application sent."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AppError(call, "OK", f"{field} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise AppError(call, "OK", f"{field} is no object: {text[:80]}")
    return value


async def _connect(target: str) -> _Connection | None:
    """Connect to where a target is; None: that is left to gRPC, as for the driver's relays.

    Raises
    ------
    OSError
        If nobody listens there.
    """
    if target.startswith("unix:"):
        return await asyncio.open_unix_connection(target.removeprefix("unix:").removeprefix("//"))
    host, separator, port = target.rpartition(":")
    if not separator or not port.isdigit():
        return None
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def _is_answered(connection: _Connection) -> bool:
    """Whether a server is behind a connection, not only a relay that closes it again."""
    reader, writer = connection
    writer.write(_HELLO)
    try:
        async with asyncio.timeout(_ANSWER):
            return bool(await reader.read(1))
    except TimeoutError:
        return True  # gRPC may have more patience
    except OSError:
        return False
