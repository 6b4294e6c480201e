"""Task files for containers of the probe, and images that offer templates."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.images.build import make_image, remove_image
from tests.support import engines
from tests.support.command_line import Cli

Json = dict[str, Any]


@dataclass
class Tasks:
    """Writes task files with an inline template: `tasks("exit", "3", outputs={"out": "out"})`.

    Channels are at ``/in/<name>`` and ``/out/<name>``; relative directories are the folder's.
    """

    folder: Path
    image: str
    written: int = field(default=0, init=False)

    def __call__(
        self,
        *verb: str,
        inputs: Mapping[str, object] | None = None,
        outputs: Mapping[str, object] | None = None,
        template: Json | None = None,
        **task: Any,
    ) -> str:
        inputs, outputs = inputs or {}, outputs or {}
        offered = {
            "identifier": "probe",
            "description": "Does as it is told.",
            "inputs": [{"name": name, "mounted_path": f"/in/{name}"} for name in inputs],
            "outputs": [{"name": name, "mounted_path": f"/out/{name}"} for name in outputs],
            "env": [],
            "command": ["/probe", *verb],
            **(template or {}),
        }
        content = {
            "name": "told",
            "image": self.image,
            "taskTemplate": offered,
            "inputs": volumes(inputs),
            "outputs": volumes(outputs),
            "env": [],
            **task,
        }
        return self.write(content)

    def write(self, content: Json | str) -> str:
        """Write a file; returns its path."""
        self.written += 1
        path = self.folder / f"task-{self.written}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return str(path)


def volumes(directories: Mapping[str, object]) -> list[Json]:
    """The channels of a task."""
    return [
        {"name": name, "volume_source": {"host_path": str(path)}}
        for name, path in directories.items()
    ]


def offering(*templates: Json) -> bytes:
    """A processing-container.json."""
    whole = [
        {"description": "One.", "inputs": [], "outputs": [], "env": [], **one} for one in templates
    ]
    return json.dumps({"name": "offers", "description": "Offers.", "templates": whole}).encode()


@dataclass
class Images:
    """Makes images that go with the test: `images("a:1", {"file": b""}, "USER 1000")`."""

    host: str
    test_id: str
    made: list[str] = field(default_factory=list)

    def __call__(self, name: str, files: Mapping[str, bytes] | None = None, *changes: str) -> str:
        """Make one; returns its name. Made again, the name moves on to the new one."""
        full = f"lading-test/{self.test_id}-{name}"
        self.made += [full, make_image(self.host, full, files or {}, changes)]
        return full

    def container(self, *templates: Json, name: str = "offers:1") -> str:
        """Make one with a processing-container.json."""
        return self(name, {"processing-container.json": offering(*templates)})

    def id(self, number: int = -1) -> str:
        """The id of one that was made, by default the last."""
        return self.made[1::2][number]

    def remove(self) -> None:
        for name in self.made:
            remove_image(self.host, name)


@contextlib.contextmanager
def running(lading: Cli, *arguments: str) -> Iterator[tuple[Any, Json]]:
    """A run of ours while its container runs: the process, and what the engine says of it."""
    with lading.started("run", *arguments) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.endswith(b": running\n"):
                break
        else:
            raise AssertionError(f"it never ran: {lines}")
        (container,) = lading.left()
        _, found = engines.call(lading.engine, "GET", f"/containers/{container}/json")
        try:
            yield process, found
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
