"""Documents that keep to the letter of the formats, for tests to change."""

from __future__ import annotations

import copy
import json
from typing import Any

from lading.contracts.processing.reading.files import Report, check

__all__ = ["CONTAINER", "TASK", "changed", "checked", "found"]

CONTAINER: dict[str, Any] = {
    "name": "tool",
    "description": "A tool.",
    "api_version": 1,
    "templates": [
        {
            "identifier": "smooth",
            "description": "Smooths.",
            "command": ["python3", "smooth.py"],
            "env": [
                {
                    "name": "WINDOW",
                    "value": "5",
                    "description": "",
                    "type": "int",
                    "choices": ["3", "5"],
                    "adjustable": True,
                }
            ],
            "inputs": [
                {
                    "name": "in",
                    "mounted_path": "/data/in",
                    "description": "Signals.",
                    "scale_rule": {
                        "scale_factor": 1.5,
                        "type": "limit",
                        "mode": "sum",
                        "target_dir": "",
                        "target_glob": "*.csv",
                        "target_regex": ".*",
                    },
                }
            ],
            "outputs": [{"name": "out", "mounted_path": "/data/out"}],
            "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "1Gi", "cpu": 1.5}},
        }
    ],
}
TASK: dict[str, Any] = {
    "name": "july",
    "image": "registry.example.org/tool:1",
    "taskTemplate": "smooth",
    "api_version": 1,
    "inputs": [{"name": "in", "volume_source": {"host_path": "/data/july"}}],
    "outputs": [{"name": "out", "volume_source": {"host_path": "/data/smooth"}}],
    "env": [{"name": "WINDOW", "value": "3"}],
    "config": {"type": "docker", "labels": {"project": "july"}},
}


def changed(document: dict[str, Any], path: str, value: Any = ...) -> dict[str, Any]:
    """Copy a document with something else at a path such as ``templates.0.name``; or without."""
    made = copy.deepcopy(document)
    *before, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    inside: Any = made
    for step in before:
        inside = inside[step]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return made


def checked(document: Any, **options: Any) -> Report:
    """Check a document, or a text, as a file of the name `f.json`; as a line of its own."""
    text = document if isinstance(document, str) else json.dumps(document)
    return check(text, source="f.json", **{"environment": {}, **options})


def found(document: Any, **options: Any) -> list[str]:
    """Tell what is found, without where."""
    findings = checked(document, **options).findings
    return [f"{one.severity}: {one.text}" for one in findings]
