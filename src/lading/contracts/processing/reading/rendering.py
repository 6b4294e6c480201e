"""Task files are Jinja templates: rendered in a sandbox, with the environment as ``env``.

A file from a stranger can't run code or read files (`Jinja's sandbox
<https://jinja.palletsprojects.com/en/stable/sandbox/>`_). What is not defined is an error, never an
empty text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from lading.contracts.processing.reading.values import json_kind

if TYPE_CHECKING:
    from types import TracebackType

    from jinja2.sandbox import SandboxedEnvironment

__all__ = ["RenderError", "origin", "render"]

_DELIMITERS = ("{{", "{%", "{#")
_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}")


class RenderError(Exception):
    """A template can't be rendered.

    No ValueError: some of Jinja's filters make a default of what raises one.

    Parameters
    ----------
    message : str
        What is wrong, and with which name.
    line : int
        Where, counted from 1; 0 where nobody knows.
    fix : str
        What to do.
    """

    def __init__(self, message: str, line: int = 0, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.fix = fix


def render(
    text: str, environment: Mapping[str, str], custom: Mapping[str, Any] | None = None
) -> str:
    """Render a template; a text without any of Jinja's delimiters is returned as it is.

    Parameters
    ----------
    text : str
    environment : mapping
        What ``{{ env.NAME }}`` finds.
    custom : mapping or None
        What ``{{ custom.NAME }}`` finds.

    Raises
    ------
    RenderError
        A name is not defined, the syntax is wrong, or it does what a file may not.
    """
    if not any(mark in text for mark in _DELIMITERS):
        return text
    import jinja2  # noqa: PLC0415  # 95 ms, and most files have no use for it

    try:
        return (
            _sandbox()
            .from_string(text)
            .render(env=_Environment(environment), custom=_Custom(custom or {}))
        )
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(f"not a valid template: {error.message}", error.lineno) from None
    except RenderError as error:
        error.line = _line(error.__traceback__)
        raise
    except jinja2.exceptions.SecurityError as error:
        raise RenderError(
            f"does what a task file may not: {error}", _line(error.__traceback__)
        ) from None
    except Exception as error:  # a template raises whatever Python does
        what = str(error) or type(error).__name__
        raise RenderError(f"can't be rendered: {what}", _line(error.__traceback__)) from None


def origin(text: str, rendered: str, line: int, column: int) -> tuple[int, int]:
    """Find where in a template something stands that is at some place of the rendered text.

    Returns
    -------
    tuple of (int, int)
        Line and column, counted from 1. In what an expression became: where the expression
        begins. Both 0 where nobody knows, as lines came or went.
    """
    if text == rendered or not line:
        return line, column
    before, after = text.split("\n"), rendered.split("\n")
    if len(before) != len(after):
        return 0, 0
    return line, _column(before[line - 1].rstrip("\r"), after[line - 1], column)


def _column(old: str, new: str, column: int) -> int:
    """Find a column of a rendered line in the line that it was: by what is no expression."""
    if old == new:
        return column
    begin = seen = expression = 0
    for match in (*_EXPRESSION.finditer(old), None):
        literal = old[begin : match.start() if match else len(old)]
        at = new.find(literal, seen) if match else len(new) - len(literal)
        if at < seen or not new.startswith(literal, at):
            break
        if column - 1 < at:
            return expression + 1
        if column - 1 < at + len(literal):
            return begin + column - at
        if match:
            begin, expression, seen = match.end(), match.start(), at + len(literal)
    return expression + 1


def _line(trace: TracebackType | None) -> int:
    """Find the line of the template in a traceback: Jinja gives its frames the template's lines."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


class _Environment(dict[str, Any]):
    """The variables of the environment, told from other dictionaries."""


class _Custom(dict[str, Any]):
    """What a program gave beside them."""


def _undefined(owner: Any, name: Any) -> RenderError:
    """Say that something is not there: a name, or something of an owner."""
    if isinstance(owner, _Environment):
        return RenderError(
            f"the environment variable {name} is not set",
            fix=f"set it, or write {{{{ env.{name} | default('...') }}}}",
        )
    if isinstance(owner, _Custom):
        return RenderError(f"custom.{name} is not given", fix="only programs give custom values")
    from jinja2.utils import missing  # noqa: PLC0415

    if owner is missing:
        return RenderError(
            f"{name!r} is not defined", fix="a task file knows only env, as in {{ env.HOME }}"
        )
    return RenderError(f"{json_kind(owner)} has no {name!r}")


@cache
def _sandbox() -> SandboxedEnvironment:
    import jinja2  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Undefined(jinja2.Undefined):
        """Fails whatever is done with it, but for `is defined` and `default`."""

        def _fail_with_undefined_error(self, *_args: Any, **_kwargs: Any) -> NoReturn:
            if self._undefined_exception is jinja2.exceptions.SecurityError:
                raise self._undefined_exception(self._undefined_hint)
            raise _undefined(self._undefined_obj, self._undefined_name)

        # Printing one, looping over it and testing it are harmless to Jinja's own.
        __str__ = __iter__ = __len__ = __bool__ = __eq__ = __ne__ = __contains__ = (
            _fail_with_undefined_error
        )
        # The base class binds its own to each of these names.
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __getitem__ = __call__ = (
            _fail_with_undefined_error
        )
        __truediv__ = __floordiv__ = __mod__ = __pow__ = __lt__ = __le__ = __gt__ = __ge__ = (
            _fail_with_undefined_error
        )
        __int__ = __float__ = __neg__ = __pos__ = __abs__ = __round__ = _fail_with_undefined_error
        __repr__ = _fail_with_undefined_error  # within a list that is printed
        __hash__ = jinja2.Undefined.__hash__

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("__"):
                raise AttributeError(name)
            self._fail_with_undefined_error()

    def as_json(value: Any, **options: Any) -> str:
        return json.dumps(value, default=str, **options)

    made = ImmutableSandboxedEnvironment(
        undefined=Undefined, autoescape=False, keep_trailing_newline=True
    )
    made.policies["json.dumps_function"] = as_json  # so that tojson names what is not defined
    return made
