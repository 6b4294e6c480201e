"""MECAnywhere task containers: a warm HTTP server per task behind an executor (contract 1).

Formats: ``docs/reference/meca.md``, after the public documents of MECAnywhere's executor and task
examples.
"""

from __future__ import annotations

PORT = 8080
"""Where a task serves."""

MARK = b"meca-init-done"
"""What a task prints once it can serve."""

EXECUTOR_PORT = 2591
"""Where an executor serves."""
