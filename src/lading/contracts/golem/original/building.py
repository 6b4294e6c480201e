"""``setup.py build_app_def``: writes an application's definition file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

from setuptools import Command

from lading.contracts.golem.appdefs import AppDefinition, write_app_definition
from lading.errors import FileInvalid, FileMissing

__all__ = ["BuildAppDefCommand", "save_app_to_json_file"]

_CONFIG = "task-api-config.json"
_DIST = "dist"
_FROM_DISTRIBUTION = ("name", "version", "description", "author", "license")


def save_app_to_json_file(app_def: AppDefinition, json_file: Path) -> None:
    """Write a definition to a file; its directory is made where it is missing.

    Raises
    ------
    ValueError
        It can't be written.
    """
    try:
        write_app_definition(app_def, json_file)
    except OSError as error:
        raise ValueError(f"{json_file}: can't be written: {error}") from error


class BuildAppDefCommand(Command):  # type: ignore[misc]  # setuptools has no types
    """Writes the definition of the distribution that is built.

    What :file:`task-api-config.json` holds comes first, in :attr:`config`; what it leaves out is
    taken from the distribution. A subclass adds to `config` before it calls ``super().run()``.
    """

    description = "write the application definition file"
    user_options: ClassVar[list[tuple[str, str | None, str | None]]] = [
        ("dist-path=", "d", f"directory for the file, which is emptied before (default {_DIST})"),
        ("config-path=", "c", f"file with fields of the definition (default {_CONFIG})"),
    ]

    def initialize_options(self) -> None:
        """Begin with the defaults."""
        self.dist_path: Any = ""
        self.config_path: Any = ""
        self.config: dict[str, Any] = {}

    def finalize_options(self) -> None:
        """Read the file of fields.

        Raises
        ------
        FileMissing, FileInvalid
            It can't be read.
        """
        self.dist_path = Path(self.dist_path or _DIST)
        self.config_path = Path(self.config_path or _CONFIG)
        source = str(self.config_path)
        try:
            found = json.loads(self.config_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileMissing(source, [f"{source}: there is no such file"]) from None
        except ValueError as error:
            raise FileInvalid(source, [f"{source}: is no JSON: {error}"]) from None
        if not isinstance(found, dict):
            raise FileInvalid(source, [f"{source}: is no JSON object"])
        self.config = found

    def run(self) -> None:
        """Write the file: ``<name>_<version>_<id>.json``.

        Raises
        ------
        FileInvalid
            A field is missing.
        """
        fields = {name: self._known(name) for name in _FROM_DISTRIBUTION}
        fields = {name: value for name, value in fields.items() if value} | self.config
        try:
            definition = AppDefinition.from_json(json.dumps(fields))
        except KeyError as error:
            source = str(self.config_path)
            raise FileInvalid(source, [f"{source}: {error.args[0]}: is missing"]) from None
        shutil.rmtree(self.dist_path, ignore_errors=True)
        name = f"{definition.name}_{definition.version}_{definition.id}.json"
        path = Path(self.dist_path) / name.replace("/", "_")
        save_app_to_json_file(definition, path)
        self.announce(f"wrote {path}", level=2)

    def _known(self, field: str) -> str:
        found = getattr(self.distribution.metadata, field, None)
        if field == "author":
            found = found or getattr(self.distribution.metadata, "maintainer", None)
        return found if isinstance(found, str) else ""
