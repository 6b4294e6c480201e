"""The servers of an application: gRPC for its handlers.

Beside the application's own service they answer the standard ones for health and for reflection.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lading.contracts.golem.constants import SERVER_CERT_FILE, SERVER_KEY_FILE
from lading.contracts.golem.directories import ProviderTaskDir, RequestorDir, RequestorTaskDir
from lading.contracts.golem.handlers import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
)
from lading.contracts.golem.proto import golem_task_api_pb2 as messages
from lading.contracts.golem.reflection import Reflection
from lading.errors import InputError

__all__ = ["ProviderServer", "RequestorServer"]

_logger = logging.getLogger(__name__)

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Two servers on one port would share the calls between them.
    ("grpc.so_reuseport", 0),
)
_GRACE = 2.0
"""How long what is in flight may take at each step of the server's end, in seconds."""
_MAX_TEXT = 6000
"""Of an error's text on the wire, in bytes: gRPC gives all trailers together 8 KiB."""

_Behaviour = Callable[[Any], Awaitable[Any]]


class _Refused(Exception):
    """A call that no handler gets."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class AppServer:
    """One side of an application on its port, with health and reflection.

    Parameters
    ----------
    work_dir : Path
        The application's work directory; its TLS files turn TLS on.
    lifecycle : AppLifecycleHandler or None
        What is done around the server's life.
    on_stopping : callable or None
        Called once when the server has been told to end, before it waits for calls in flight.
    """

    service: ClassVar[str]
    """The name of the service, without its package."""
    _patience: ClassVar[float] = 0.0

    def __init__(
        self,
        work_dir: Path,
        lifecycle: AppLifecycleHandler | None,
        on_stopping: Callable[[], None] | None,
    ) -> None:
        self.work_dir = Path(work_dir)
        self.port = 0
        """Where it listens; 0 before it has started, and on a Unix socket."""
        self._lifecycle = lifecycle or AppLifecycleHandler()
        self._on_stopping = on_stopping
        self._told_to_stop = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._in_flight: set[asyncio.Task[Any]] = set()

    def _behaviours(self) -> dict[str, _Behaviour]:
        raise NotImplementedError

    async def serve(self, address: str) -> None:
        """Answer calls at an address until told to end: the whole life of a server.

        Parameters
        ----------
        address : str
            ``host:port`` or ``unix:/path``.

        Raises
        ------
        InputError
            If it can't listen there.
        """
        await self.start(address)
        try:
            await self.wait()
        finally:
            await self.stop()

    async def start(self, address: str) -> None:
        """Begin to answer calls; see :meth:`serve`."""
        await self._lifecycle.on_before_startup()
        credentials = await asyncio.to_thread(_credentials, self.work_dir)
        server = grpc.aio.server(options=_OPTIONS)
        full_name = f"{messages.DESCRIPTOR.package}.{self.service}"
        server.add_generic_rpc_handlers(
            (self._own_service(full_name), Reflection((full_name, health.SERVICE_NAME)))
        )
        state = health.aio.HealthServicer()
        await state.set(full_name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        try:
            if credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            # One that was never started would never be ended, and keep its descriptors.
            await server.start()
            await server.stop(None)
            raise InputError(
                "port", f"can't listen at {address}: {error}", fix="is it taken?"
            ) from error
        if address.startswith("unix:"):
            self.port = 0
        await server.start()
        self._server = server
        try:
            await self._lifecycle.on_after_startup()
        except BaseException:
            await self.stop()
            raise

    def request_stop(self) -> None:
        """Tell the server to end; from its own event loop."""
        if not self._told_to_stop.is_set():
            self._told_to_stop.set()
            if self._on_stopping is not None:
                self._on_stopping()

    async def wait(self) -> None:
        """Wait until the server has been told to end."""
        await self._told_to_stop.wait()

    async def stop(self) -> None:
        """End: what handlers do is cancelled, what they have said is still sent.

        A requestor's calls first have a moment to end by themselves; a provider's one call is what
        its end is to interrupt.
        """
        self.request_stop()
        server, self._server = self._server, None
        if server is None:
            return
        try:
            await self._lifecycle.on_before_shutdown()
        finally:
            await self._interrupt()
            await server.stop(_GRACE)
            await self._lifecycle.on_after_shutdown()

    async def _interrupt(self) -> None:
        if self._in_flight and self._patience:
            await asyncio.wait(self._in_flight, timeout=self._patience)
        for task in self._in_flight:
            task.cancel()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=_GRACE)

    def _own_service(self, full_name: str) -> grpc.GenericRpcHandler:
        behaviours = self._behaviours()
        methods = messages.DESCRIPTOR.services_by_name[self.service].methods
        return grpc.method_handlers_generic_handler(
            full_name,
            {
                method.name: grpc.unary_unary_rpc_method_handler(
                    self._answering(method.name, behaviours[method.name]),
                    request_deserializer=getattr(messages, method.input_type.name).FromString,
                    response_serializer=getattr(
                        messages, method.output_type.name
                    ).SerializeToString,
                )
                for method in methods
            },
        )

    def _answering(self, call: str, behaviour: _Behaviour) -> Callable[[Any, Any], Awaitable[Any]]:
        """Make a behaviour's exceptions the client's, with their text."""

        async def answer(request: Any, context: Any) -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._in_flight.add(task)
            try:
                return await behaviour(request)
            except asyncio.CancelledError:
                if not self._told_to_stop.is_set():
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, "it was told to end")
            except _Refused as error:
                await context.abort(error.code, str(error))
            except Exception as error:
                # The container's log gets the whole of it.
                _logger.exception("%s of %s failed", call, self.service)
                await context.abort(grpc.StatusCode.INTERNAL, _fitting(_text_of(error)))
            finally:
                self._in_flight.discard(task)

        return answer

    async def _shutdown(self, _request: messages.ShutdownRequest) -> messages.ShutdownReply:
        # The reply is on its way before the server ends: it is one of the calls in flight.
        self.request_stop()
        return messages.ShutdownReply()


class RequestorServer(AppServer):
    """The long-running side of an application.

    Parameters
    ----------
    work_dir : Path
        Holds a directory for each task; TLS files in it turn TLS on.
    handler : RequestorAppHandler
        Answers the calls.
    lifecycle : AppLifecycleHandler or None
        What is done around the server's life.
    on_stopping : callable or None
        Called once when the server has been told to end, before it waits for calls in flight.
    """

    service = "RequestorApp"
    _patience = _GRACE

    def __init__(
        self,
        work_dir: Path,
        handler: RequestorAppHandler,
        lifecycle: AppLifecycleHandler | None = None,
        *,
        on_stopping: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(work_dir, lifecycle, on_stopping)
        self._handler = handler
        self._tasks = RequestorDir(work_dir)

    def _behaviours(self) -> dict[str, _Behaviour]:
        return {
            "CreateTask": self._create_task,
            "NextSubtask": self._next_subtask,
            "Verify": self._verify,
            "DiscardSubtasks": self._discard_subtasks,
            "RunBenchmark": self._run_benchmark,
            "HasPendingSubtasks": self._has_pending_subtasks,
            "AbortTask": self._abort_task,
            "AbortSubtask": self._abort_subtask,
            "Shutdown": self._shutdown,
        }

    def _task(self, request: Any) -> RequestorTaskDir:
        return RequestorTaskDir(self._tasks, request.task_id)

    async def _create_task(self, request: messages.CreateTaskRequest) -> messages.CreateTaskReply:
        params = _read_json(request.task_params_json, "task_params_json")
        task = await self._handler.create_task(
            self._task(request), request.max_subtasks_count, params
        )
        # Applications that are older than this field leave it out.
        needs: Any = task.inf_requirements
        return messages.CreateTaskReply(
            env_id=task.env_id,
            prerequisites_json=json.dumps(task.prerequisites),
            inf_requirements=needs and {"min_memory_mib": float(needs.min_memory_mib)},
        )

    async def _next_subtask(
        self, request: messages.NextSubtaskRequest
    ) -> messages.NextSubtaskReply:
        subtask = await self._handler.next_subtask(
            self._task(request), request.subtask_id, request.opaque_node_id
        )
        if subtask is None:
            return messages.NextSubtaskReply()
        return messages.NextSubtaskReply(
            subtask=messages.SubtaskReply(
                subtask_params_json=json.dumps(subtask.params),
                resources=[str(name) for name in subtask.resources],
            )
        )

    async def _verify(self, request: messages.VerifyRequest) -> messages.VerifyReply:
        result, reason = await self._handler.verify(self._task(request), request.subtask_id)
        # The number itself is as good: old applications return the protocol's own.
        number: Any = getattr(result, "value", result)
        return messages.VerifyReply(result=number, reason=reason)

    async def _discard_subtasks(
        self, request: messages.DiscardSubtasksRequest
    ) -> messages.DiscardSubtasksReply:
        gone = await self._handler.discard_subtasks(self._task(request), list(request.subtask_ids))
        return messages.DiscardSubtasksReply(discarded_subtask_ids=gone)

    async def _run_benchmark(
        self, _request: messages.RunBenchmarkRequest
    ) -> messages.RunBenchmarkReply:
        score = await self._handler.run_benchmark(self.work_dir)
        return messages.RunBenchmarkReply(score=score)

    async def _has_pending_subtasks(
        self, request: messages.HasPendingSubtasksRequest
    ) -> messages.HasPendingSubtasksReply:
        pending = await self._handler.has_pending_subtasks(self._task(request))
        # Some applications say how many there are.
        return messages.HasPendingSubtasksReply(has_pending_subtasks=bool(pending))

    async def _abort_task(self, request: messages.AbortTaskRequest) -> messages.AbortTaskReply:
        await self._handler.abort_task(self._task(request))
        return messages.AbortTaskReply()

    async def _abort_subtask(
        self, request: messages.AbortSubtaskRequest
    ) -> messages.AbortSubtaskReply:
        await self._handler.abort_subtask(self._task(request), request.subtask_id)
        return messages.AbortSubtaskReply()


class ProviderServer(AppServer):
    """The side of an application that computes: it ends after its first Compute or RunBenchmark.

    Parameters
    ----------
    work_dir : Path
        The directory of the one task; TLS files in it turn TLS on.
    handler : ProviderAppHandler
        Answers the call.
    lifecycle : AppLifecycleHandler or None
        What is done around the server's life.
    on_stopping : callable or None
        Called once when the server has been told to end, before it waits for calls in flight.
    """

    service = "ProviderApp"

    def __init__(
        self,
        work_dir: Path,
        handler: ProviderAppHandler,
        lifecycle: AppLifecycleHandler | None = None,
        *,
        on_stopping: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(work_dir, lifecycle, on_stopping)
        self._handler = handler
        self._used = False

    def _behaviours(self) -> dict[str, _Behaviour]:
        return {
            "Compute": self._once(self._compute),
            "RunBenchmark": self._once(self._run_benchmark),
            "Shutdown": self._shutdown,
        }

    def _once(self, behaviour: _Behaviour) -> _Behaviour:
        async def only(request: Any) -> Any:
            if self._used:
                raise _Refused(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "a provider answers one call, and this one has had its call",
                )
            self._used = True
            try:
                return await behaviour(request)
            finally:
                self.request_stop()

        return only

    async def _compute(self, request: messages.ComputeRequest) -> messages.ComputeReply:
        params = _read_json(request.subtask_params_json, "subtask_params_json")
        task = ProviderTaskDir(self.work_dir)
        await asyncio.to_thread(_make_directory, task.subtask_dir(request.subtask_id))
        result = await self._handler.compute(task, request.subtask_id, params)
        return messages.ComputeReply(output_filepath=str(result))

    async def _run_benchmark(
        self, _request: messages.RunBenchmarkRequest
    ) -> messages.RunBenchmarkReply:
        score = await self._handler.run_benchmark(self.work_dir)
        return messages.RunBenchmarkReply(score=score)


def _credentials(work_dir: Path) -> grpc.ServerCredentials | None:
    """Return what TLS needs, where the work directory has some of it."""
    if not any((work_dir / name).exists() for name in (SERVER_KEY_FILE, SERVER_CERT_FILE)):
        return None
    # Hardly any application has it, and every start of a provider would pay for it.
    from lading.contracts.golem.tls import server_credentials  # noqa: PLC0415

    return server_credentials(work_dir)


def _text_of(error: Exception) -> str:
    # An exception without a text, such as that of `assert`, would say nothing at all.
    return str(error) or type(error).__name__


def _fitting(text: str) -> str:
    """Cut a text to what the trailers of a reply may hold: bytes as they are on the wire."""
    text = text[: _MAX_TEXT + 1]
    if len(quote(text)) <= _MAX_TEXT:
        return text
    while len(quote(text)) > _MAX_TEXT:
        text = text[: len(text) * 9 // 10]
    return f"{text} [...]"


def _read_json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{field} is not JSON: {error}") from None


def _make_directory(path: Path) -> None:
    """Make a subtask's directory, which applications count on."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        # An application that does not use it need not fail; one that does says so itself.
        _logger.warning("can't make %s: %s", path, error.strerror)
