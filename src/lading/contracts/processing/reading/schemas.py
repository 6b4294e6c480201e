"""The JSON Schemas (2020-12) of both files: the letter of the formats, for editors.

They are made from the models by :func:`generate` and kept as files beside this module, so that
showing one, or checking a file by it, needs no pydantic. A document that a schema allows is one
that :func:`lading.contracts.processing.reading.files.check` has nothing to say about, but for
doubts.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.reading.deviations import EXPECTED
from lading.contracts.processing.reading.letter import LARGEST_FACTOR, QUANTITY
from lading.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["FILES", "generate", "schema", "schema_text"]

FILES = {"pc": "processing-container.schema.json", "task": "task.schema.json"}
"""What the schema of each kind of file is called."""
_HOME = "https://lading.readthedocs.io/assets/schemas/"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TITLES = {"pc": "processing-container.json", "task": "task.json"}
_INSIDE = r"^(?!/)(?!([^\u0000]*/)?\.\.(/|$))[^\u0000]*$"
"""A path that does not lead out of where it begins."""
_AMOUNTS = {
    "anyOf": [
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "format": QUANTITY},
                    {"type": "number", "format": QUANTITY},
                    {"type": "null"},
                ]
            },
        },
        {"type": "null"},
    ]
}
_EXAMPLES: dict[str, dict[str, Any]] = {
    "pc": {
        "name": "smoother",
        "description": "Smooths signals.",
        "api_version": 1,
        "templates": [
            {
                "identifier": "smooth",
                "description": "Takes the mean over a window of each CSV file.",
                "command": ["python3", "/app/smooth.py"],
                "env": [
                    {
                        "name": "WINDOW",
                        "value": "5",
                        "description": "Over how many values.",
                        "type": "int",
                        "choices": ["3", "5", "9"],
                        "adjustable": True,
                    }
                ],
                "inputs": [
                    {
                        "name": "signals",
                        "mounted_path": "/data/in",
                        "description": "CSV files, a value on each line.",
                        "scale_rule": {
                            "scale_factor": 3,
                            "type": "limit",
                            "mode": "max_file_size",
                            "target_glob": "*.csv",
                        },
                    }
                ],
                "outputs": [
                    {
                        "name": "smooth",
                        "mounted_path": "/data/out",
                        "description": "A file for each, of the same name.",
                    }
                ],
                "resources": {
                    "requests": {"memory": "64Mi"},
                    "limits": {"memory": "256Mi", "cpu": "1"},
                },
            }
        ],
    },
    "task": {
        "name": "smooth-july",
        "image": "registry.example.org/smoother:1.0",
        "taskTemplate": "smooth",
        "api_version": 1,
        "inputs": [{"name": "signals", "volume_source": {"host_path": "{{ env.HOME }}/july"}}],
        "outputs": [{"name": "smooth", "volume_source": {"host_path": "{{ env.HOME }}/smooth"}}],
        "env": [{"name": "WINDOW", "value": "9"}],
        "config": {"type": "docker", "labels": {"project": "july"}},
    },
}


def schema_text(kind: str) -> str:
    """Return the schema of a kind of file, as text.

    Parameters
    ----------
    kind : str
        ``pc`` or ``task``.

    Raises
    ------
    InputError
        There is no such kind.
    """
    if kind not in FILES:
        raise InputError("KIND", f"{kind!r} is no kind of file", fix="use pc or task")
    return Path(__file__).with_name(FILES[kind]).read_text("utf-8")


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return the schema of a kind of file.

    Raises
    ------
    InputError
        There is no such kind.
    """
    content: dict[str, Any] = json.loads(schema_text(kind))
    return content


def generate(kind: str) -> str:
    """Make the schema of a kind of file from its model."""
    from lading.contracts.processing.task import Task  # noqa: PLC0415
    from lading.contracts.processing.template import ProcessingContainer  # noqa: PLC0415

    model: type[BaseModel] = ProcessingContainer if kind == "pc" else Task
    made = model.model_json_schema()
    definitions = {name: _to_the_letter(name, one) for name, one in made.pop("$defs").items()}
    definitions.pop("BaseConfig", None)  # of a type that nobody knows
    made = _to_the_letter(model.__name__, made)
    where = {"type": "string", "description": "Where this schema is, for editors."}
    content = {
        "$schema": _DIALECT,
        "$id": _HOME + FILES[kind],
        **made,
        "title": _TITLES[kind],
        "examples": [_EXAMPLES[kind]],
        "properties": {"$schema": where, **made["properties"]},
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _to_the_letter(name: str, made: dict[str, Any]) -> dict[str, Any]:
    """Ask of a model for what the format asks for: the model also takes what is meant."""
    if made.get("type") != "object":
        return made
    made["description"] = " ".join(made.get("description", "").split("\n\n")[0].split())
    known = made["properties"]
    wanted = [*made.get("required", ()), *EXPECTED.get(name, ())]
    for one in wanted:
        known[one].pop("default", None)
    if "description" in EXPECTED.get(name, ()):
        known["description"]["minLength"] = 1
    made["required"] = [one for one in known if one in wanted]
    for one, described in known.items():
        described["title"] = one.replace("_", " ")
    made["additionalProperties"] = name == "K8sConfig"
    if name in _SPECIAL:
        _SPECIAL[name](made, known)
    return made


def _scale_rule(made: dict[str, Any], known: dict[str, Any]) -> None:
    known["target_dir"]["pattern"] = known["target_glob"]["pattern"] = _INSIDE
    known["target_regex"]["format"] = "regex"
    known["complexity"]["deprecated"] = True
    factor = {"type": "number", "minimum": -LARGEST_FACTOR, "maximum": LARGEST_FACTOR}
    known["scale_factor"]["anyOf"] = [factor, {"type": "null"}]
    made["anyOf"] = [
        {"required": [name], "properties": {name: {"type": kind}}}
        for name, kind in (("scale_factor", "number"), ("complexity", "string"))
    ]


def _resources(_made: dict[str, Any], known: dict[str, Any]) -> None:
    for name in ("limits", "requests"):
        known[name].update(_AMOUNTS)


def _volume(made: dict[str, Any], known: dict[str, Any]) -> None:
    """Also take a channel as the documents write it."""
    no_host = {"host_path": False, "local_path": False}
    source = {
        "anyOf": [
            {"$ref": "#/$defs/HostPathVolume"},
            {"type": "object", "minProperties": 1, "properties": no_host},
        ]
    }
    known["volume_source"].pop("oneOf", None)
    known["volume_source"].update(source)
    names = ("volume_source", "input", "output")
    for name in names[1:]:
        known[name] = {
            **source,
            "title": name,
            "description": "An older name of volume_source.",
            "deprecated": True,
        }
    made["required"].remove("volume_source")
    made["oneOf"] = [{"required": [name]} for name in names]


def _docker_config(made: dict[str, Any], _known: dict[str, Any]) -> None:
    made["required"] = ["type"]


def _task(_made: dict[str, Any], known: dict[str, Any]) -> None:
    config = known["config"]
    config.pop("oneOf", None)
    kinds = ("DockerConfig", "K8sConfig")
    config["anyOf"] = [*({"$ref": f"#/$defs/{name}"} for name in kinds), {"type": "null"}]


_SPECIAL = {
    "DockerConfig": _docker_config,
    "IOVolume": _volume,
    "Resources": _resources,
    "ScaleRule": _scale_rule,
    "Task": _task,
}
