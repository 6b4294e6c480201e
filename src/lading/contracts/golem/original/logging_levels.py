"""What an application logs, by the argument that it was started with."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

__all__ = ["DEFAULT_EXTERNAL_LOGGERS", "DEFAULT_LEVEL", "LOG_LEVEL_VALUES", "from_arg"]

DEFAULT_LEVEL = logging.INFO
DEFAULT_EXTERNAL_LOGGERS = ["grpc", "peewee"]
"""Loggers of libraries: what they say is of little use to an application's author."""
LOG_LEVEL_VALUES = ["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"]

_FORMAT = "%(asctime)s %(levelname)-8s %(name)s %(message)s"
_logger = logging.getLogger(__name__)


def from_arg(
    log_level_arg: str | int | None = None,
    log_level_default: int = DEFAULT_LEVEL,
    external_loggers: Iterable[str] = tuple(DEFAULT_EXTERNAL_LOGGERS),
    external_log_level: str | int = DEFAULT_LEVEL,
) -> None:
    """Log to stderr from a level on.

    Parameters
    ----------
    log_level_arg : str, int or None
        What the user said: ``DEBUG``, ``10``. None, and what is no level: the default.
    log_level_default : int
    external_loggers : iterable of str
        Loggers that have a level of their own.
    external_log_level : str or int
        Theirs.
    """
    level = log_level_default if log_level_arg is None else _level(log_level_arg)
    logging.basicConfig(stream=sys.stderr, format=_FORMAT)
    logging.getLogger().setLevel(log_level_default if level is None else level)
    if level is None:
        known = ", ".join(LOG_LEVEL_VALUES)
        _logger.warning("log level %r: there is none of that name; use %s", log_level_arg, known)
    external = _level(external_log_level)
    for name in external_loggers:
        logging.getLogger(name).setLevel(DEFAULT_LEVEL if external is None else external)


def _level(value: str | int) -> int | None:
    """Read a level; None if it is none."""
    if isinstance(value, int):
        return value
    if value.isdigit():
        return int(value)
    return logging.getLevelNamesMapping().get(value.upper())
