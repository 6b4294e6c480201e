"""Processing-containers as tasks of Airflow, see docs/how-to/airflow.md.

::

    from lading.airflow import IOMapping, ProcessingContainerOperator

Each name is loaded when it is first asked for: only :mod:`lading.airflow.operator`,
:mod:`lading.airflow.trigger` and :mod:`lading.airflow.plugin` import Airflow, whatever of it they
need by :mod:`lading.airflow.versions`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.airflow.mapping import IOMapping
    from lading.airflow.operator import ProcessingContainerOperator

__all__ = ["IOMapping", "ProcessingContainerOperator"]

_HOMES = {
    "IOMapping": "lading.airflow.mapping",
    "ProcessingContainerOperator": "lading.airflow.operator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
