"""The standard service by which a gRPC server tells what it offers."""

from __future__ import annotations

from typing import Any

import grpc

__all__ = ["Reflection"]


class Reflection(grpc.GenericRpcHandler):
    """The standard service that tells of the others; made when somebody first asks.

    Hardly anybody does, and its import would cost every start of a provider.

    Parameters
    ----------
    names : tuple of str
        The full names of the other services.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._handler: grpc.GenericRpcHandler | None = None

    def service(self, handler_call_details: Any) -> Any:
        """Return what answers a call, if it is for this service."""
        if not handler_call_details.method.startswith("/grpc.reflection."):
            return None
        if self._handler is None:
            self._handler = _made_reflection(self._names)
        return self._handler.service(handler_call_details)


def _made_reflection(names: tuple[str, ...]) -> grpc.GenericRpcHandler:
    from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc  # noqa: PLC0415  # rare

    made: list[grpc.GenericRpcHandler] = []

    class Collector:
        """Takes the place of the server, which has started and takes no more handlers."""

        def add_generic_rpc_handlers(self, handlers: Any) -> None:
            made.extend(handlers)

        def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
            """Do nothing: the generic handler does the same."""

    servicer = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, Collector())
    return made[0]
