"""Tasks of the probe of the Golem Task API, as people run them."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.images.golem import ensure_golem_image
from tests.support import engines
from tests.support.command_line import Cli, Done

_PROBE = Path(__file__).parents[1] / "images/golem_probe"


@dataclass
class Golem:
    """Runs tasks: `golem("--nodes", "2", parts=4, do={"1": "die-once"})`."""

    cli: Cli
    folder: Path
    tasks: int = field(default=0, init=False)

    @property
    def image(self) -> str:
        return ensure_golem_image(self.cli.engine, _PROBE)

    def params(self, **wanted: Any) -> dict[str, Any]:
        """Parameters of the probe; see its source."""
        image, _, tag = self.image.rpartition(":")
        return {"image": image, "tag": tag, **wanted}

    def command(
        self,
        *flags: str,
        output: Path | None = None,
        resources: Sequence[Path] = (),
        **params: Any,
    ) -> list[str]:
        """The words after `lading`; `output` is a directory of its own by default."""
        self.tasks += 1
        file = self.folder / f"params-{self.tasks}.json"
        file.write_text(json.dumps(self.params(**params)))
        parts = params.get("parts", 2)
        words = ["golem", "run", self.image, "--params", str(file), "--max-subtasks", str(parts)]
        for path in resources:
            words += ["--resources", str(path)]
        return [*words, "--output", str(output or self.output), *flags]

    @property
    def output(self) -> Path:
        """Where the latest task's results go."""
        return self.folder / f"out-{self.tasks}"

    def __call__(self, *flags: str, **given: Any) -> Done:
        """Run a task to its end."""
        return self.cli(*self.command(*flags, **given))

    @contextlib.contextmanager
    def started(self, *flags: str, **given: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Run a task meanwhile."""
        with self.cli.started(*self.command(*flags, **given)) as process:
            yield process

    def parts(self, output: Path | None = None) -> dict[int, dict[str, Any]]:
        """The results of the latest task, by part; nothing else is there but their sum."""
        folder = output or self.output
        assert {path.name for path in folder.iterdir()} <= {"parts", "sum", "pad"}
        found = {int(p.name): json.loads(p.read_text()) for p in (folder / "parts").iterdir()}
        total = sum(part["square"] for part in found.values())
        assert (folder / "sum").read_text() == f"{total}\n"
        return found

    def listed(self) -> list[dict[str, Any]]:
        """All tasks there are, the latest first."""
        found: list[dict[str, Any]] = self.cli.json("golem", "ps", "--all")
        return found

    def only(self) -> dict[str, Any]:
        """The one task there is."""
        (task,) = self.listed()
        return task

    def homes(self) -> set[str]:
        """Tasks whose directories are there."""
        tasks = self.cli.state / "golem" / "tasks"
        return {path.name for path in tasks.iterdir()} if tasks.is_dir() else set()

    def containers(self, side: str = "") -> list[Mapping[str, Any]]:
        """What the engine says of our containers, of both sides or of one."""
        _, found = engines.call(self.cli.engine, "GET", "/containers/json?all=1")
        ours = str(self.cli.state)
        return [
            item
            for item in found
            if (item.get("Labels") or {}).get("lading.lock", "").startswith(ours)
            and (not side or item["Labels"].get("lading.golem.side") == side)
        ]

    def kill(self, side: str) -> int:
        """Kill the containers of a side; returns how many there were."""
        found = self.containers(side)
        for item in found:
            engines.call(self.cli.engine, "POST", f"/containers/{item['Id']}/kill")
        return len(found)

    def kept_logs(self) -> str:
        """All that our containers printed."""
        return "".join(
            path.read_bytes().decode("utf-8", "replace")
            for path in sorted((self.cli.state / "logs").glob("*.log*"))
        )
