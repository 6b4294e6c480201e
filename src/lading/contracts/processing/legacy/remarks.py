"""What a person must look at by hand once a legacy container's files are drafted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.contracts.processing.access import is_root
from lading.units import format_bytes

if TYPE_CHECKING:
    from lading.contracts.processing.legacy.drafting import Draft
    from lading.contracts.processing.legacy.examples import Example
    from lading.contracts.processing.legacy.migration import Legacy

__all__ = ["remarks"]

_LARGE = 2 << 30
"""Bytes of an example above which a copy is worth a word."""
_OPERATOR = (
    "Variables, memory and GPUs that the old operator gave it are not in the image: see its "
    "definition, and add them to `env` and `resources` of the template."
)


def remarks(legacy: Legacy, result: Draft, inputs: Example | None) -> list[str]:
    """Say what is left to do, a sentence or two for each thing, as Markdown."""
    required = [f"`{item.name}`" for item in result.parameters if item.required]
    found = [
        f"{', '.join(required)}: the program fails without, so give values in `task.json`."
        if required
        else "",
        *_unseen(legacy),
        *_guesses(result),
        *_about_user(legacy),
        *_about_example(inputs, result),
        _OPERATOR,
    ]
    return [text for text in found if text]


def _unseen(legacy: Legacy) -> list[str]:
    found = [f"{text}. What that reads is not known." for text in legacy.unread]
    if not legacy.scripts:
        found.append("No script could be read: describe the program's variables yourself.")
    found += [
        f"{script.path}:{line} reads a variable whose name it computes."
        for script in legacy.scripts
        for line in script.computed
    ]
    places = [f"{one.path}:{line}" for one in legacy.scripts for line in one.configuration[:1]]
    if places:
        found.append(
            f"`conf.json` is named at {', '.join(places)}: put what the program needs of it into "
            "`LEGACY_CONF`. It was one file for all tasks of a workflow, now it is this task's own."
        )
    return found


def _guesses(result: Draft) -> list[str]:
    known = ("OPERATOR_IN_DIR", "OPERATOR_OUT_DIR")
    return [
        f"`{item.variable}` is named like a directory of the old layout, so there is a channel "
        f"`{item.name}` for it. If it is none, remove the channel, and its pair in "
        f"`{'LEGACY_OUTPUTS' if item.output else 'LEGACY_INPUTS'}`."
        for item in result.channels
        if item.variable not in known
    ]


def _about_user(legacy: Legacy) -> list[str]:
    user = legacy.image.user
    if is_root(user):
        return []
    text = f"The image runs as user `{user}`: it must be able to read the input directories"
    return [f"{text}, and to write to the output directories."]


def _about_example(example: Example | None, result: Draft) -> list[str]:
    if example is None:
        return []
    found = []
    if example.inner:
        found.append(
            f"Every item of {example.path} holds only the directory `{example.inner}`, as the old "
            "layout has it. A channel holds the files directly in the item: move them up."
        )
    if example.loose and not example.items:
        found.append(
            f"{example.path} has no items: the program gets its files as one item named `item`."
        )
    elif example.loose:
        found.append(
            f"{example.path} has files beside its items ({example.loose} and {example.items}): the "
            f"program finds them in `$WORKFLOW_DIR/{result.channels[0].folder}`."
        )
    if not example.loose and not example.items:
        found.append(f"{example.path} is empty.")
    if example.amount.bytes > _LARGE:
        found.append(
            f"{example.path} holds {format_bytes(example.amount.bytes)}, which are copied before "
            "each run: try `LEGACY_INPUT_AS`."
        )
    return found
