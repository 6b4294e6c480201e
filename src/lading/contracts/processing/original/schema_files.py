"""The JSON Schemas of both files, and the script that writes them."""

from __future__ import annotations

import json
from pathlib import Path

from lading.contracts.processing.reading.schemas import schema

__all__ = ["processing_container_schema", "task_schema", "write_schemas"]

processing_container_schema = schema("pc")
task_schema = schema("task")


def write_schemas(folder: Path = Path()) -> list[Path]:
    """Write ``ProcessingContainer.schema.json`` and ``Task.schema.json``."""
    written = []
    for name, value in (
        ("ProcessingContainer", processing_container_schema),
        ("Task", task_schema),
    ):
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(value, indent=2), "utf-8")
        written.append(path)
    return written
