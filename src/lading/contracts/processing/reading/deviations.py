"""What breaks the letter of a file, and is meant beyond doubt: accepted, and told of.

Such files are in use. The letter is what :mod:`lading.contracts.processing.reading.schemas`
writes down.
"""

from __future__ import annotations

import posixpath
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from lading.contracts.processing.reading.positions import Path, spell
from lading.contracts.processing.reading.values import as_text, json_kind

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["EXPECTED", "deviations", "doubts"]

EXPECTED: Mapping[str, Mapping[str, str]] = {
    "ProcessingContainer": {"description": ""},
    "TaskTemplate": {
        "description": "",
        "inputs": "there are none",
        "outputs": "there are none",
        "env": "there are none",
    },
    "BaseEnv": {"value": "it is empty"},
    "TaskTemplateEnv": {"value": "it is empty"},
    "ScaleRule": {"type": "it is 'limit'", "mode": "it is 'sum'"},
}
"""Fields that the format wants, and that can be done without: what is taken in place of each."""
_SCHEMA = "$schema"
"""Editors look there; it says nothing about the thing described."""
_ONCE = {
    ("IOVolume", "input"): "volume_source",
    ("IOVolume", "output"): "volume_source",
    ("HostPathVolume", "local_path"): "host_path",
}
"""Fields by names that they had once; those of channels are in the documents still."""
_CONFIG = (
    "namespace",
    "registryUrl",
    "registryUsername",
    "registryPassword",
    "imagePullSecrets",
    "labels",
    "annotations",
)
"""Fields that stood at the top of a task once."""

Deviation = tuple[Path, str]


def deviations(model: type[BaseModel], value: Mapping[str, Any], path: Path) -> Iterator[Deviation]:
    """Walk over an object beside its model."""
    known = model.model_fields
    name = model.__name__
    for key, inside in value.items():
        here = (*path, key)
        if key in known:
            field = known[key]
            yield from _inside(field.annotation, field.metadata, inside, here)
        elif (now := _ONCE.get((name, key))) is not None and now not in value:
            if name != "IOVolume":
                yield here, f"is called {now} by now"
            yield from _inside(known[now].annotation, known[now].metadata, inside, here)
        elif key == _SCHEMA and not path:
            if not isinstance(inside, str):
                yield here, f"should be a text, not {json_kind(inside)}"
        elif (name, key) == ("BaseConfig", "type"):
            continue  # a doubt
        elif model.model_config.get("extra") != "allow":
            hint = "; it belongs into config" if name == "Task" and key in _CONFIG else ""
            yield here, f"the format has no such field; it is ignored{hint}"
    for key, instead in EXPECTED.get(name, {}).items():
        if key not in value or (key == "description" and not value[key]):
            yield path, f"has no {key}" + (f"; {instead}" if instead else "")


def _inside(annotation: Any, metadata: list[Any], value: Any, path: Path) -> Iterator[Deviation]:
    """Compare a value with what a field is annotated as."""
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        if (member := _member(inner, metadata, value)) is not None:
            yield from _inside(member, [], value, path)
        elif int in inner and isinstance(value, bool | str):
            yield path, f"should be a number, not {json_kind(value)}"
    elif origin is list:
        if value is None:
            yield path, "should be a list; null is read as []"
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _inside(inner[0], [], item, (*path, index))
    elif origin is dict and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inside(inner[1], [], item, (*path, key))
    elif hasattr(annotation, "model_fields") and isinstance(value, Mapping):
        yield from deviations(annotation, value, path)
    else:
        yield from _of_one(annotation, value, path)


def _of_one(kind: Any, value: Any, path: Path) -> Iterator[Deviation]:
    """Compare a value that holds no others."""
    if kind is str and not isinstance(value, str):
        yield path, f"should be a text; {json_kind(value)} is read as {as_text(value)!r}"
    elif kind is bool and not isinstance(value, bool):
        yield path, f"should be true or false, not {json_kind(value)}"
    elif get_args(kind) == (1,) and (isinstance(value, bool | str) or value != 1):
        yield path, f"should be the number 1, not {value!r}"


def _member(inner: tuple[Any, ...], metadata: list[Any], value: Any) -> Any:
    """Choose the one member of a union that a value is read as; None if several may be."""
    for item in metadata:
        if (choose := getattr(item, "discriminator", None)) is not None:
            tag = choose(value)
            tagged = {next((m.tag for m in get_args(one) if hasattr(m, "tag")), ""): one
                      for one in inner}  # fmt: skip
            return tagged.get(tag)
    others = [item for item in inner if item is not type(None)]
    if value is None and len(others) < len(inner):
        return None
    return others[0] if len(others) == 1 else None


def doubts(kind: str, value: Mapping[str, Any]) -> Iterator[Deviation]:
    """Find what is valid, and yet can't be meant.

    Parameters
    ----------
    kind : str
        ``pc`` or ``task``.
    value : mapping
        A valid document.
    """
    if kind == "task":
        for name in ("inputs", "outputs", "env"):
            yield from _twice(value.get(name), "name", (name,))
        if isinstance(template := value["taskTemplate"], Mapping):
            yield from _of_template(template, ("taskTemplate",))
        config = value.get("config") or {}
        if "type" in config and config["type"] not in ("docker", "k8s"):
            yield (
                ("config", "type"),
                f"{config['type']!r} is neither 'docker' nor 'k8s'; only the labels count",
            )
        return
    yield from _twice(value["templates"], "identifier", ("templates",))
    for index, template in enumerate(value["templates"]):
        yield from _of_template(template, ("templates", index))
    if not value["templates"]:
        yield ("templates",), "is empty: nothing can be run"


def _of_template(template: Mapping[str, Any], path: Path) -> Iterator[Deviation]:
    places: dict[str, Path] = {}
    for name in ("inputs", "outputs", "env"):
        yield from _twice(template.get(name), "name", (*path, name))
    for name in ("inputs", "outputs"):
        for index, channel in enumerate(template.get(name) or ()):
            here = (*path, name, index)
            place = posixpath.normpath(channel["mounted_path"])
            if (other := places.setdefault(place, here)) is not here:
                yield (
                    (*here, "mounted_path"),
                    f"{spell(other)} is mounted there, too",
                )
            if (rule := channel.get("scale_rule")) is not None:
                yield from _of_rule(rule, (*here, "scale_rule"), is_input=name == "inputs")
    for position, env in enumerate(template.get("env") or ()):
        choices, chosen = env.get("choices"), as_text(env.get("value"))
        if choices and chosen and chosen not in map(as_text, choices):
            yield (*path, "env", position, "value"), f"{chosen!r} is not one of the choices"


def _of_rule(rule: Mapping[str, Any], path: Path, *, is_input: bool) -> Iterator[Deviation]:
    factor, expression = rule.get("scale_factor"), rule.get("complexity")
    if not is_input:
        yield path, "has no effect: only the rules of inputs count"
    if factor is not None and expression is not None:
        yield (*path, "complexity"), "stands beside a scale_factor, which counts"
    if str(factor or expression).startswith("-"):
        yield path, "is negative: it asks for nothing"


def _twice(items: Any, key: str, path: Path) -> Iterator[Deviation]:
    seen: set[str] = set()
    for index, item in enumerate(items or ()):
        if item[key] in seen:
            yield (*path, index, key), f"{item[key]!r} is twice; the first one counts"
        seen.add(item[key])
