"""Flags derived from option sets: a knob is spelled once, in its dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, get_args, get_type_hints

import typer

from lading.settings import engine_options

__all__ = ["Given", "engine_options", "flags"]

Given = dict[str, Any]
"""The knobs that the command line sets, by name."""


def _names(item: dataclasses.Field[Any], kind: Any) -> list[str]:
    names = (item.metadata["flag"] or "--" + item.name.replace("_", "-")).split()
    if bool in (kind, *get_args(kind)) and not names[0].startswith("--no-"):
        names[0] = f"{names[0]}/--no-{names[0].removeprefix('--')}"
    return [str(name) for name in names]


def _parameter(item: dataclasses.Field[Any], kind: Any) -> inspect.Parameter:
    text = item.metadata["help"]
    default = item.default
    repeats = isinstance(default, tuple)
    if default not in ("", False, None, ()):
        shown = f"{default:g}" if isinstance(default, float) else default
        shown = "yes" if default is True else shown
        text = f"{text} [default: {shown}]"
    option = typer.Option(
        *_names(item, kind),
        help=text,
        metavar=item.metadata["metavar"] or None,
        show_default=False,
    )
    kind = list[str] if repeats else kind
    return inspect.Parameter(
        item.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,  # not given: a file or a variable may say it
        annotation=Annotated[kind | None, option],
    )


def flags(
    options: type, into: str = "engine", only: Collection[str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a flag for every knob of an option set.

    Parameters
    ----------
    options : type
        A dataclass whose fields are made by :func:`lading.settings.knob`.
    into : str
        The command's parameter that gets a :data:`Given` of those that were set.
    only : collection of str or None
        Of these knobs; None: of all.
    """
    kinds = get_type_hints(options)
    added = [
        _parameter(item, kinds[item.name])
        for item in dataclasses.fields(options)
        if only is None or item.name in only
    ]
    names = [parameter.name for parameter in added]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != into]

        @functools.wraps(command)
        def call(**values: Any) -> Any:
            given = {name: values.pop(name) for name in names}
            values[into] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in given.items()
                if value is not None and value != []
            }
            return command(**values)

        own = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
        call.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        return call

    return decorate
