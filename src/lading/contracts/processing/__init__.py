"""Contract 2: processing-containers, which run to completion over mounted channels.

What a container offers stands in a file at the root of its image, what somebody wants of it in a
``task.json``.
"""

from __future__ import annotations

__all__ = ["CONTAINER_FILE", "CONTRACT", "FILE_NAME"]

CONTRACT = "processing"
"""The value of the label ``lading.contract``."""
FILE_NAME = "processing-container.json"
CONTAINER_FILE = f"/{FILE_NAME}"
"""Where an image says what it offers."""
