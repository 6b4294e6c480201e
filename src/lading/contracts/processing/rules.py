"""The rules for folders of processing-containers, besides those for folders of all contracts."""

from __future__ import annotations

from lading.folders.findings import ERROR, HINT, WARNING, Rule

__all__ = ["PROCESSING"]

CONTAINER_FILE_INVALID = Rule(
    "container-file-invalid",
    ERROR,
    "`processing-container.json` is no valid one; the findings are those of `lading validate`.",
    "what the container offers can't be understood",
    "see `lading validate processing-container.json`",
)
CONTAINER_FILE_ODD = Rule(
    "container-file-odd",
    WARNING,
    "`processing-container.json` is understood, although it breaks the letter of the format.",
    "other runners of such containers may refuse it",
    "see `lading validate processing-container.json`",
)
CONTAINER_FILE_NOT_COPIED = Rule(
    "container-file-not-copied",
    ERROR,
    "The `Dockerfile` does not copy `processing-container.json` to `/`.",
    "whoever has the image can't tell what it offers",
    "write COPY processing-container.json /",
)
NOTHING_TO_RUN = Rule(
    "nothing-to-run",
    ERROR,
    "A template has no command, and the `Dockerfile` has neither `CMD` nor `ENTRYPOINT`.",
    "the container would run its base image's command",
    'write CMD ["python3", "/app/main.py"]',
)
EXAMPLE_MISSING = Rule(
    "example-missing",
    HINT,
    "There is no `example` directory.",
    "`lading test` has nothing to run the container with",
    "add example/inputs/CHANNEL/... and what comes out of it as example/outputs/CHANNEL/...",
)
EXAMPLE_UNFIT = Rule(
    "example-unfit",
    WARNING,
    "The `example` directory has a channel that no template has, lacks an input of its template, "
    "or its `task.json` is no valid one.",
    "`lading test` can't run it as it is meant",
    "name the directories below example/inputs and example/outputs as the channels",
)

PROCESSING: tuple[Rule, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Rule)
)
"""All of them, in the order of this file."""
