"""What ``airflow plugins`` shows of us."""

from __future__ import annotations

from lading.airflow.versions import AirflowPlugin

__all__ = ["LadingPlugin"]


class LadingPlugin(AirflowPlugin):
    """Adds nothing to Airflow's pages: it says that the operator is there."""

    name = "lading"
