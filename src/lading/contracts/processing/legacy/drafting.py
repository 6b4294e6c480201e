"""What is written for a legacy container, so that it runs as a processing-container.

A folder: the template, a Dockerfile, the adapter, a task, and what to check by hand. All of it is a
draft for a person to go on with; what is in it is valid and runs.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.access import is_root
from lading.contracts.processing.legacy.migration import LAYOUT
from lading.contracts.processing.legacy.remarks import remarks
from lading.contracts.processing.reading.files import check

if TYPE_CHECKING:
    from lading.contracts.processing.legacy.examples import Example
    from lading.contracts.processing.legacy.migration import Legacy, Variable

__all__ = ["ADAPTER", "Channel", "Draft", "default_name", "draft"]

ADAPTER = "legacy-adapter.sh"
_HERE = Path(__file__).parent
_INPUT_VARIABLE = re.compile(r"(?P<name>[A-Z0-9_]+)_(?:IN|INPUT)_DIR\Z")
_OUTPUT_VARIABLE = re.compile(r"(?P<name>[A-Z0-9_]+)_(?:OUT|OUTPUT)_DIR\Z")
_JINJA = re.compile(r"\{[{%#]")
_PLACES = 3


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the draft.

    Parameters
    ----------
    name, mounted_path : str
    variable : str
        Which of the program's variables names its directory.
    folder : str
        What that is called.
    output : bool
    """

    name: str
    mounted_path: str
    variable: str
    folder: str
    output: bool = False


@dataclass(slots=True)
class Draft:
    """What is to be written.

    Parameters
    ----------
    name : str
        Of the container and its template.
    image : str
        What the new image is to be called.
    files : dict of str to str
        Their contents by their names.
    channels : list of Channel
    parameters : list of Variable
        What the program reads beyond the old layout.
    checks : list of str
        What a person must look at.
    """

    name: str
    image: str
    files: dict[str, str] = field(default_factory=dict)
    channels: list[Channel] = field(default_factory=list)
    parameters: list[Variable] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)


def default_name(reference: str) -> str:
    """Make a name of an image's reference: its last part, without tag and digest."""
    last = reference.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return re.sub(r"[^a-z0-9._-]", "-", last.lower()).strip("._-") or "legacy"


def draft(
    legacy: Legacy, *, name: str, inputs: Example | None = None, outputs: Path | None = None
) -> Draft:
    """Draft everything about a container.

    Parameters
    ----------
    legacy : Legacy
    name : str
        Of the container, its template and the new image.
    inputs : Example or None
        A directory to run it on.
    outputs : Path or None
        Where its results go; need not exist.

    Raises
    ------
    FileInvalid
        What was drafted is not valid: an error of ours.
    """
    result = Draft(name, f"{name}:migrated")
    variables = {variable.name: variable for variable in legacy.variables}
    result.channels = _channels(variables, legacy.image.env)
    own = {*LAYOUT, *(channel.variable for channel in result.channels)}
    result.parameters = [item for item in legacy.variables if item.name not in own]
    result.checks = remarks(legacy, result, inputs)
    files = result.files
    files["processing-container.json"] = _written(_container(legacy, result, variables))
    files["Dockerfile"] = _dockerfile(legacy)
    files[ADAPTER] = (_HERE / "adapter.sh").read_text("utf-8")
    files["task.json"] = _written(_task(result, inputs, outputs))
    files["README.md"] = _readme(legacy, result)
    for source, kind in (("processing-container.json", "pc"), ("task.json", "task")):
        check(files[source], source=source, environment={}, kind=kind).refuse()
    return result


def _written(value: Any) -> str:
    """Write JSON that is its own text when it is rendered as a template."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return _JINJA.sub(lambda match: f"{{{{ '{match[0]}' }}}}", text)


# Channels.


def _channels(variables: Mapping[str, Variable], env: Mapping[str, str]) -> list[Channel]:
    """One input and one output, and one for each other variable that is named like them."""

    def folder(variable: str, usual: str) -> str:
        value = env.get(variable) or (variables[variable].value if variable in variables else "")
        return value if value and not value.startswith("/") else usual

    found = [Channel("inputs", "/inputs", "OPERATOR_IN_DIR", folder("OPERATOR_IN_DIR", "input"))]
    outputs = [
        Channel(
            "outputs", "/outputs", "OPERATOR_OUT_DIR", folder("OPERATOR_OUT_DIR", "output"), True
        )
    ]
    for name, variable in variables.items():
        if name in LAYOUT or variable.value.startswith("/"):
            continue
        if match := _INPUT_VARIABLE.match(name):
            word = match["name"].lower()
            found.append(Channel(word, f"/inputs-{word}", name, folder(name, word)))
        elif match := _OUTPUT_VARIABLE.match(name):
            word = f"{match['name'].lower()}-out"
            outputs.append(Channel(word, f"/outputs-{word}", name, folder(name, word), True))
    return found + outputs


# processing-container.json


def _container(legacy: Legacy, result: Draft, variables: Mapping[str, Variable]) -> dict[str, Any]:
    described = f"{result.name}: the legacy container {legacy.reference}, run unchanged."
    return {
        "name": result.name,
        "description": described,
        "api_version": 1,
        "templates": [
            {
                "identifier": result.name,
                "description": described,
                "inputs": [_mount(item) for item in result.channels if not item.output],
                "outputs": [_mount(item) for item in result.channels if item.output],
                "env": [
                    *map(_parameter, result.parameters),
                    *_layout(legacy, result, variables),
                    *_adapter(result),
                ],
            }
        ],
    }


def _mount(channel: Channel) -> dict[str, str]:
    where = f"to the program: $WORKFLOW_DIR/$BATCH_NAME/<item>/${channel.variable}"
    verb = "Results" if channel.output else "Data"
    return {
        "name": channel.name,
        "mounted_path": channel.mounted_path,
        "description": f"{verb} as <item>/<files>; {where}",
    }


def _parameter(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "value": variable.value,
        "type": variable.type or "string",
        "adjustable": True,
        "description": _describe(variable),
    }


def _describe(variable: Variable) -> str:
    places = ", ".join(variable.places[:_PLACES])
    if len(variable.places) > _PLACES:
        places += " and elsewhere"
    text = f"Read at {places}."
    if variable.required:
        return f"{text} The program fails without it."
    if variable.known:
        return text
    if variable.defaults:
        text += f" Unless it is set: {' or '.join(variable.defaults)}."
    return f"{text} Empty means not set."


def _layout(
    legacy: Legacy, result: Draft, variables: Mapping[str, Variable]
) -> list[dict[str, Any]]:
    """Describe the old layout's own variables."""
    env, root = legacy.image.env, is_root(legacy.image.user)
    workflow = env.get("WORKFLOW_DIR", "") if root else ""
    values = {
        "WORKFLOW_DIR": (workflow or "/tmp/workflow", "Where the old layout is made."),  # noqa: S108
        "BATCH_NAME": (
            env.get("BATCH_NAME", "batch"),
            "Name of the directory below it that holds the items.",
        ),
    }
    for channel in result.channels:
        what = "results" if channel.output else "data"
        text = f"Name of the directory with an item's {what}: the channel {channel.name}."
        values[channel.variable] = (channel.folder, text)
    for name in ("RUN_ID", "DAG_ID", "TASK_ID"):
        if name in variables:
            told = _describe(variables[name])
            values[name] = (env.get(name) or result.name, f"The old workflow's. {told}")
    return [
        {"name": name, "value": value, "adjustable": False, "description": text}
        for name, (value, text) in values.items()
    ]


def _adapter(result: Draft) -> list[dict[str, Any]]:
    """Describe what the adapter can be told."""

    def pairs(output: bool) -> str:
        chosen = (item for item in result.channels if item.output is output)
        return " ".join(f"{item.variable}={item.mounted_path}" for item in chosen)

    unset = " ".join(item.name for item in result.parameters if not item.known)
    which = "Which variable names the program's directory for which mounted_path"
    return [
        {
            "name": "LEGACY_INPUT_AS", "value": "copy", "adjustable": True,
            "choices": ["copy", "link-files", "link-folders"],
            "description": "How inputs appear to the program. Links take no time and no space, but "
            "some programs fail on them: legacy-adapter.sh says which.",
        },
        {
            "name": "LEGACY_OUTPUT_AS", "value": "copy", "adjustable": True,
            "choices": ["copy", "link"],
            "description": "How outputs reach the channel: copied at the end, or written there.",
        },
        {
            "name": "LEGACY_LOOSE_FILES", "value": "auto", "adjustable": True,
            "choices": ["auto", "item", "batch"],
            "description": "Files directly in an input channel: an item named 'item', or the "
            "batch's own. auto: an item if there is no other.",
        },
        {
            "name": "LEGACY_CONF", "value": "{}", "adjustable": True,
            "description": "Content of $WORKFLOW_DIR/conf/conf.json, as JSON.",
        },
        {
            "name": "LEGACY_UNSET_IF_EMPTY", "value": unset, "adjustable": False,
            "description": "Variables that are not set at all where they are empty.",
        },
        {
            "name": "LEGACY_INPUTS", "value": pairs(output=False), "adjustable": False,
            "description": f"{which} of an input.",
        },
        {
            "name": "LEGACY_OUTPUTS", "value": pairs(output=True), "adjustable": False,
            "description": f"{which} of an output.",
        },
    ]  # fmt: skip


# Dockerfile and task.json


def _dockerfile(legacy: Legacy) -> str:
    image = legacy.image
    start = ["/bin/sh", f"/{ADAPTER}", *image.entrypoint]
    lines = [
        f"# {legacy.reference} as a processing-container: see README.md.",
        f"ARG LEGACY={_source(legacy)}",
        "FROM ${LEGACY}",
        f"COPY {ADAPTER} processing-container.json /",
        "# The old image's program, which the adapter runs. A new ENTRYPOINT forgets the old CMD.",
        f"ENTRYPOINT {json.dumps(start)}",
    ]
    if image.command:
        lines.append(f"CMD {json.dumps(list(image.command))}")
    return "\n".join(lines) + "\n"


def _source(legacy: Legacy) -> str:
    """Name the old image as a builder can find it: an id alone is no name."""
    reference, image = legacy.reference, legacy.image
    if re.fullmatch(r"(?:sha256:)?[0-9a-f]{64}", reference):
        return next(iter((*image.tags, *image.digests)), image.id)
    return reference


def _task(result: Draft, inputs: Example | None, outputs: Path | None) -> dict[str, Any]:
    def volume(channel: Channel) -> dict[str, Any]:
        path = f"/path/to/{channel.name}"
        if channel.variable == "OPERATOR_IN_DIR" and inputs is not None:
            path = str(inputs.path)
        if channel.variable == "OPERATOR_OUT_DIR" and outputs is not None:
            path = str(outputs)
        return {"name": channel.name, "volume_source": {"host_path": path}}

    return {
        "name": result.name,
        "image": result.image,
        "taskTemplate": result.name,
        "api_version": 1,
        "inputs": [volume(item) for item in result.channels if not item.output],
        "outputs": [volume(item) for item in result.channels if item.output],
        "env": [
            {"name": item.name, "value": item.value} for item in result.parameters if item.required
        ],
    }


# README.md


def _readme(legacy: Legacy, result: Draft) -> str:
    scripts = [f"`{script.path}`" for script in legacy.scripts]
    image = legacy.image
    found = [
        f"- Scripts that were read: {', '.join(scripts) or 'none'}",
        f"- Runs in `{image.directory or '/'}`, as `{image.user or 'root'}`",
    ]
    found += [f"- `{item.name}`: {_describe(item)}" for item in result.parameters]
    seen = {variable.name for variable in legacy.variables}
    others = [name for name in image.env if name not in seen and name != "PATH"]
    if others:
        named = ", ".join(f"`{name}`" for name in sorted(others))
        found.append(f"- Set by the image, and not seen being read: {named}")
    values = {
        "NAME": result.name,
        "REFERENCE": legacy.reference,
        "PROGRAM": json.dumps(list(legacy.program), ensure_ascii=False),
        "IMAGE": result.image,
        "FOUND": "\n".join(found),
        "CHECKS": "\n".join(f"- [ ] {text}" for text in result.checks),
        "CHANNELS": "\n".join(
            f"| {'output' if item.output else 'input'} `{item.name}` | `{item.mounted_path}/<item>`"
            f" | `$WORKFLOW_DIR/$BATCH_NAME/<item>/${item.variable}` |"
            for item in result.channels
        ),
    }

    class At(string.Template):
        delimiter = "@"

    return At((_HERE / "migrated.md").read_text("utf-8")).substitute(values)
