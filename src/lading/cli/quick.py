"""Options and arguments that need no pydantic are read without it.

From 0.29 on Typer reads the value of every option but a flag by a pydantic ``TypeAdapter``, also
of those that were not given: 85 ms before a command begins. Texts and numbers need none; whatever
else there is, and every mistake, is left to Typer.
"""

from __future__ import annotations

from typing import Any

__all__ = ["quicken"]


class _Reader:
    """Reads the values of one option or argument.

    Parameters
    ----------
    param
        Of Typer, which makes its own reader only when that is asked for.
    """

    def __init__(self, param: Any) -> None:
        kind = param.type_descriptor.annotation
        info = getattr(param.type_descriptor, "parameter_info", None)
        special = [getattr(info, name, None) is not None for name in ("parser", "min", "max")]
        self._kind = None if any(special) else kind

    def itself(self) -> _Reader:
        """Stand in for the method by which Typer asks for it."""
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return what the command gets."""
        several = param.multiple or param.nargs == -1
        kind = self._kind
        if value is None:
            return () if several else None
        if several and kind == list[str] and not isinstance(value, str):
            return list(value)
        if not several and type(value) is kind:
            return value
        if not several and kind in (int, float) and isinstance(value, str) and "_" not in value:
            try:
                return kind(value)
            except ValueError:
                pass  # Typer has the words for it
        own = type(param).get_runtime_param(param)
        return own.coerce(value, param=param, ctx=ctx)


def quicken(command: Any) -> None:
    """Let a command of Typer read plain values so; of a Typer that has other ways, nothing is."""
    known = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        params: list[Any] = known(ctx)
        for param in params:
            if hasattr(param, "get_runtime_param") and hasattr(param, "type_descriptor"):
                param.get_runtime_param = _Reader(param).itself
        return params

    command.get_params = get_params
