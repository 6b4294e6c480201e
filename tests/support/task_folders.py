"""Task folders of the probe, with images that go with the test."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support import engines

ECHO = b'{"a": [1, 2]}'


@dataclass
class TaskFolders:
    """Makes folders: `folders(b'{"hog": 1}', b"ok", mem=32, command=("serve", "--no-mark"))`."""

    host: str
    parent: Path
    probe: str
    test_id: str
    made: list[str] = field(default_factory=list, init=False)

    def __call__(
        self,
        example_input: bytes | None = ECHO,
        example_output: bytes | None = ECHO,
        *,
        command: tuple[str, ...] = ("serve",),
        config: str | None = None,
        **resource: Any,
    ) -> Path:
        name = f"try-{self.test_id}-{len(self.made)}"
        folder = self.parent / name
        (folder / "src").mkdir(parents=True)
        (folder / "src/notes.txt").write_text("nothing to build")
        self.command(folder, *command)
        (folder / "name.txt").write_text(f"{name}\n")
        (folder / "description.txt").write_text("Does as it is told.\n")
        if example_input is not None:
            (folder / "example_input.bin").write_bytes(example_input)
        if example_output is not None:
            (folder / "example_output.bin").write_bytes(example_output)
        default = json.dumps({"resource": {"cpu": 0.5, "mem": 48, **resource}})
        (folder / "config.json").write_text(config if config is not None else default)
        self.made.append(f"lading-task/{name}:dev")
        return folder

    def command(self, folder: Path, *command: str) -> None:
        """Write a Dockerfile for the probe with these words."""
        quoted = json.dumps(list(command))
        (folder / "Dockerfile").write_text(f"FROM {self.probe}\nEXPOSE 8080\nCMD {quoted}\n")

    def remove(self) -> None:
        for tag in self.made:
            with contextlib.suppress(OSError):
                engines.call(self.host, "DELETE", f"/images/{quote(tag, safe='')}?force=1")
