"""Application definitions: files that say which image a requestor runs for an application.

Source: the files that applications were published with, for example
https://github.com/golemfactory/tutorialapp, ``examples/app_descriptor.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from lading.contracts.golem.constants import DOCKER_CPU_ENV_ID, DOCKER_GPU_ENV_ID
from lading.errors import FileInvalid, FileMissing

__all__ = ["AppDefinition", "read_app_definition", "write_app_definition"]

_ENVIRONMENTS = (DOCKER_CPU_ENV_ID, DOCKER_GPU_ENV_ID)
_ID_BYTES = 16
_FIX = "an example is in the documentation of golem applications"


@dataclass
class AppDefinition:
    """What a requestor has to know of an application.

    Parameters
    ----------
    name : str
        Usually the image's name.
    requestor_env : str
        The environment in which the requestor's side runs: ``docker_cpu`` or ``docker_gpu``.
    requestor_prereq : dict
        What the environment has to be told: ``image`` and ``tag``.
    max_benchmark_score : float
        The best score that its benchmark gives.
    version, description, author, license : str
        For people.
    market_strategy : str
        How offers are chosen where computing is paid; kept, without any effect here.
    """

    # The order counts: the id is a digest of the JSON text.
    name: str
    requestor_env: str
    requestor_prereq: dict[str, Any]
    max_benchmark_score: float
    version: str = "0.0"
    description: str = ""
    author: str = ""
    license: str = ""
    market_strategy: str = "brass"

    @property
    def id(self) -> str:
        """By which it is known: 32 hexadecimal digits, made of all its fields."""
        digest = hashlib.blake2b(self.to_json().encode("utf-8"), digest_size=_ID_BYTES)
        return digest.hexdigest()

    @property
    def image(self) -> str:
        """The reference of the image in which the requestor's side runs.

        Raises
        ------
        KeyError
            The prerequisites name none.
        """
        tag = self.requestor_prereq.get("tag")
        return f"{self.requestor_prereq['image']}{f':{tag}' if tag else ''}"

    @classmethod
    def from_json(cls, json_str: str) -> Self:
        """Read a definition; fields that are not known are left out.

        Raises
        ------
        KeyError
            A field is missing.
        ValueError
            It is no JSON object.
        """
        found = json.loads(json_str)
        if not isinstance(found, dict):
            raise ValueError("an application definition is a JSON object")  # noqa: TRY004
        for field in fields(cls):
            if field.name not in found and field.default is MISSING:
                raise KeyError(field.name)
        known = [field.name for field in fields(cls) if field.name in found]
        return cls(**{name: found[name] for name in known})

    def to_json(self) -> str:
        """Write it on one line, in the order of its fields."""
        return json.dumps(asdict(self))


def write_app_definition(definition: AppDefinition, path: Path) -> None:
    """Write a definition to a file; its directory is made where it is missing.

    Raises
    ------
    OSError
        It can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(definition.to_json(), encoding="utf-8")


def read_app_definition(path: Path) -> AppDefinition:
    """Read a definition and check it.

    Raises
    ------
    FileMissing
        There is no such file.
    FileInvalid
        It is no definition; with everything that is wrong.
    """
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileMissing(source, [f"{source}: there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileInvalid(source, [f"{source}: can't be read: {error}"]) from None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise FileInvalid(source, [f"{source}: is no JSON: {error}"], fix=_FIX) from None
    if findings := list(_findings(found)):
        lines = [f"{source}: {finding}" for finding in findings]
        raise FileInvalid(source, lines, fix=_FIX)
    return AppDefinition.from_json(text)


def _findings(found: Any) -> list[str]:
    """Everything that is wrong with a definition."""
    if not isinstance(found, dict):
        return ["is no JSON object"]
    wrong = []
    for field in fields(AppDefinition):
        name = field.name
        if name not in found:
            if field.default is MISSING:
                wrong.append(f"{name}: is missing")
        elif not _KINDS[name][1](found[name]):
            wrong.append(f"{name}: must be {_KINDS[name][0]}, not {found[name]!r}")
    environment = found.get("requestor_env")
    if isinstance(environment, str) and environment not in _ENVIRONMENTS:
        known = " or ".join(_ENVIRONMENTS)
        wrong.append(f"requestor_env: {environment!r} can't be run, only {known}")
    wanted = found.get("requestor_prereq")
    if isinstance(wanted, dict):
        image, tag = wanted.get("image"), wanted.get("tag", "")
        if not isinstance(image, str) or not image:
            wrong.append("requestor_prereq.image: must name an image")
        if not isinstance(tag, str):
            wrong.append(f"requestor_prereq.tag: must be a text, not {tag!r}")
    return wrong


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a text", _is_text),
    "requestor_env": ("a text", _is_text),
    "requestor_prereq": ("an object", _is_object),
    "max_benchmark_score": ("a number", _is_number),
    "version": ("a text", _is_text),
    "description": ("a text", _is_text),
    "author": ("a text", _is_text),
    "license": ("a text", _is_text),
    "market_strategy": ("a text", _is_text),
}
