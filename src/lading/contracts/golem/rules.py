"""The rules for folders of Golem applications, besides those for folders of all contracts."""

from __future__ import annotations

from lading.folders.findings import ERROR, HINT, WARNING, Rule

__all__ = ["GOLEM"]

APP_DEFINITION_INVALID = Rule(
    "app-definition-invalid",
    ERROR,
    "`app.json` is no definition of an application.",
    "requestors learn from it which image to run",
    "see the reference of Golem applications",
)
PARAMS_INVALID = Rule(
    "params-invalid",
    ERROR,
    "`params.json` is no JSON object.",
    "they are the parameters of the application's example task",
    "write {} if there are none",
)
ENTRYPOINT_MISSING = Rule(
    "entrypoint-missing",
    ERROR,
    "The `Dockerfile` has no `ENTRYPOINT`.",
    "whoever runs it appends `requestor PORT` or `provider PORT` to the entry point",
    'write ENTRYPOINT ["python", "-m", "my_app"]',
)
ENTRYPOINT_SHELL_FORM = Rule(
    "entrypoint-shell-form",
    ERROR,
    "The `ENTRYPOINT` is no JSON list.",
    "a shell does not pass `requestor PORT` on to the program",
    'write it as a list: ENTRYPOINT ["python", "-m", "my_app"]',
)
EXAMPLE_PARAMS_MISSING = Rule(
    "example-params-missing",
    HINT,
    "There is no `params.json`.",
    "`lading test` runs the task with these parameters",
    "write the parameters of a small task into params.json",
)
APP_IMAGE_UNTAGGED = Rule(
    "app-image-untagged",
    WARNING,
    "`app.json` names an image without a tag, or with `latest`.",
    "nodes may compute one task with different images",
    "name a version: requestor_prereq.tag",
)

GOLEM: tuple[Rule, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Rule)
)
"""All of them, in the order of this file."""
