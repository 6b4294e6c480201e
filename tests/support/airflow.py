"""Airflow in an environment of its own: installed once, kept, used by tests as people use it.

Such an environment takes a minute and half a gigabyte, so it is made only where the variable
`LADING_TEST_AIRFLOW` asks for it (`all`, or versions), and kept below the user's cache directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.printed import ROOT

VERSIONS = ("3.3.2", "2.11.2")
"""The newest, and the last of the line before."""
DRIVERS = ("psycopg2-binary", "asyncpg")
"""For a scheduler with a database that takes more than one at a time."""
DOCUMENT = ROOT.parent / "shared/seeds/003_de44322d2155d3e6.txt"
"""The document whose DAGs have to run as printed there."""


def missing(version: str) -> str:
    """Why there is no such Airflow; empty if there is."""
    wanted = os.environ.get("LADING_TEST_AIRFLOW", "")
    if wanted == "all" or version in wanted.split(","):
        return ""
    return (
        f"Airflow {version} is not asked for; LADING_TEST_AIRFLOW=all installs it and its like "
        "into environments of their own"
    )


def environment(version: str, wheels: Sequence[Path]) -> Path:
    """Make sure of an environment with this Airflow and our wheels; returns it."""
    key = hashlib.sha256(repr((version, sys.version, DRIVERS)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lading-airflow"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{version}-{key}"
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "complete"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _call([sys.executable, "-m", "venv", str(folder)])
            _pip(folder, "install", f"apache-airflow=={version}", *DRIVERS)
            done.touch()
        _pip(folder, "uninstall", "-y", "lading", "lading-compat")
        first, *others = map(str, wheels)
        _pip(folder, "install", f"{first}[kubernetes]", *others)
        if not (folder / "airflow.db").exists():
            home = folder / "home"
            own = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
            _call([str(folder / "bin/airflow"), "db", "migrate"], {**os.environ, **own})
            (home / "airflow.db").rename(folder / "airflow.db")
    return folder


def build_wheels(folder: Path) -> list[Path]:
    """Build the distributions of this tree: ours first."""
    for source in (ROOT, ROOT / "compat"):
        _call(
            [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "-q",
                "--no-deps",
                "-w",
                str(folder),
                str(source),
            ]
        )
    return sorted(folder.glob("*.whl"), key=lambda path: "compat" in path.name)


def document_dags() -> list[str]:
    """The DAGs of the document, in its order, as printed."""
    blocks: list[list[str]] = []
    inside = False
    for line in DOCUMENT.read_text("utf-8").splitlines():
        if line.startswith(".. code::python"):  # one colon too few for Sphinx: not ours to mend
            blocks.append([])
            inside = True
        elif inside and line and not line.startswith("    "):
            inside = False
        elif inside:
            blocks[-1].append(line.removeprefix("    "))
    return ["\n".join(block).strip() + "\n" for block in blocks]


@dataclass(frozen=True)
class Airflow:
    """One Airflow with a home, a folder of DAGs, data and a database of its own."""

    version: str
    environment: Path
    home: Path
    engine: str
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def dags(self) -> Path:
        return self.home / "dags"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def env(self) -> dict[str, str]:
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
            "DATADIR": str(self.data),
            "LADING_STATE": str(self.state),
            "LADING_ENGINE": self.engine,
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
        }
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "LADING_", "PYTHON")) and name != "DOCKER_HOST"
        }
        return {**kept, **own, **self.more}

    @classmethod
    def make(cls, version: str, environment: Path, home: Path, engine: str) -> Airflow:
        made = cls(version, environment, home, engine)
        for folder in (made.dags, made.data):
            folder.mkdir(parents=True)
        shutil.copy(environment / "airflow.db", home / "airflow.db")
        return made

    def __call__(self, *words: str, timeout: float = 110) -> subprocess.CompletedProcess[str]:
        """Call `airflow`; what it writes is in `stdout`."""
        return subprocess.run(
            [str(self.environment / "bin/airflow"), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            env=self.env,
            cwd=self.home,
        )

    def python(self, code: str, *arguments: str) -> Any:
        """Run a program in its environment; returns the JSON of its last line."""
        done = subprocess.run(
            [str(self.environment / "bin/python"), "-c", code, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
            env=self.env,
            cwd=self.home,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def test(self, dag: str, conf: object = None, day: str = "") -> tuple[dict[str, str], str]:
        """`airflow dags test`: the states of its tasks, and all that was written."""
        words = [day] if day else []
        words += ["--conf", json.dumps(conf)] if conf is not None else []
        done = self("dags", "test", dag, *words)
        with contextlib.closing(sqlite3.connect(self.home / "airflow.db")) as database:
            rows = database.execute(
                "SELECT task_id, state FROM task_instance WHERE dag_id = ?", (dag,)
            )
            return dict(rows.fetchall()), done.stdout

    def import_errors(self) -> dict[str, str]:
        """What is wrong with the DAGs, by the names of their files: as a parser sees it."""
        where = "airflow.dag_processing.dagbag" if self.major > 2 else "airflow.models.dagbag"
        code = (
            f"import json, os, sys; from {where} import DagBag\n"
            "sys.path.insert(0, sys.argv[1])\n"  # as a parser has it
            "bag = DagBag(sys.argv[1])\n"
            "print(json.dumps({os.path.basename(k): v for k, v in bag.import_errors.items()}))\n"
        )
        found: dict[str, str] = self.python(code, str(self.dags))
        return found

    def left(self, host: str) -> list[str]:
        """Names of the containers of its DAGs that an engine still has."""
        from tests.support import engines  # noqa: PLC0415

        _, found = engines.call(host, "GET", "/containers/json?all=1")
        return [
            item["Names"][0]
            for item in found
            if (item.get("Labels") or {}).get("lading.lock", "").startswith(str(self.state))
        ]

    @contextlib.contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A part of it that runs meanwhile, in a session of its own; its log is in its home."""
        with (self.home / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(self.environment / "bin/airflow"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.home,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes], *, at_once: bool = False) -> None:
    """End a part with all that it started."""
    import psutil  # noqa: PLC0415

    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(process.pid)
        children = whole.children(recursive=True)
        if not at_once and process.poll() is None:
            whole.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(8)
        for child in [*children, whole]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.wait(10)


def _pip(folder: Path, *words: str) -> None:
    _call([str(folder / "bin/python"), "-m", "pip", "-q", *words])


def _call(command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=env, timeout=900
    )
    if done.returncode:
        raise RuntimeError(f"{command[:6]} ended with {done.returncode}: {done.stderr[-2000:]}")
