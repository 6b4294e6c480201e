"""Processing-containers as tasks of Airflow."""

from lading.airflow.mapping import IOMapping as IOMapping
from lading.airflow.operator import ProcessingContainerOperator as KaapanaTaskOperator

__all__ = ["IOMapping", "KaapanaTaskOperator"]
