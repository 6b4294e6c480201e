"""What we need of Airflow, from where the version that is installed has it: 3.x, or 2.11."""

from __future__ import annotations

try:
    import airflow  # noqa: F401
except ImportError as error:
    raise ImportError(
        "lading.airflow needs Apache Airflow, which is not installed here; "
        "in the clone of Lading: pip install '.[airflow]'"
    ) from error

from airflow.triggers.base import BaseTrigger, TriggerEvent

try:
    from airflow.sdk import BaseOperator
except ImportError:  # Airflow 2
    from airflow.models.baseoperator import BaseOperator
try:
    from airflow.sdk.configuration import conf
except ImportError:
    from airflow.configuration import conf
try:
    from airflow.sdk.exceptions import AirflowException, AirflowSkipException
except ImportError:  # before 3.2
    from airflow.exceptions import AirflowException, AirflowSkipException
try:
    from airflow.sdk.plugins_manager import AirflowPlugin
except ImportError:
    from airflow.plugins_manager import AirflowPlugin

__all__ = [
    "AirflowException",
    "AirflowPlugin",
    "AirflowSkipException",
    "BaseOperator",
    "BaseTrigger",
    "TriggerEvent",
    "conf",
    "tells_of_kills",
]

tells_of_kills = hasattr(BaseTrigger, "on_kill")
"""Whether a trigger is told that its task was killed (3.3), or has to find out by itself."""
