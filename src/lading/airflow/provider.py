"""What Airflow lists of us: ``airflow providers list``."""

from __future__ import annotations

from typing import Any

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """Describe this package as Airflow wants to hear it of a provider."""
    return {
        "package-name": "lading",
        "name": "Lading",
        "description": "Task containers (processing-containers) as tasks, on Docker, Podman and "
        "Kubernetes.",
        "integrations": [
            {
                "integration-name": "Lading",
                "external-doc-url": "https://lading.readthedocs.io",
                "tags": ["software"],
            }
        ],
        "operators": [
            {"integration-name": "Lading", "python-modules": ["lading.airflow.operator"]}
        ],
        "triggers": [{"integration-name": "Lading", "python-modules": ["lading.airflow.trigger"]}],
    }
