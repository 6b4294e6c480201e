"""A command line that takes a second to say hello is broken: what is not loaded when."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_group

from lading.cli.golem import COMMANDS as GOLEM
from lading.cli.golem import golem
from lading.cli.root import COMMANDS, app

HEAVY = {
    "asyncio",
    "fastapi",
    "google.protobuf",
    "grpc",
    "httptools",
    "lading.contracts.meca.options",
    "peewee",
    "prometheus_client",
    "psutil",
    "pydantic",
    "pynvml",
    "rich",
    "sqlite3",
    "ssl",
    "starlette",
    "uvicorn",
    "yaml",
}

PROGRAM = """
import json, sys
sys.argv = ["lading", *{arguments!r}]
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
CALL = "from lading.cli import app; app()"


def loaded(code: str, *arguments: str) -> set[str]:
    """The modules that a fresh interpreter has after this."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=code, arguments=arguments)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing() -> None:
    modules = loaded("import lading, lading.__main__, lading.cli")
    assert not modules & (HEAVY | {"typer", "lading.cli.root", "lading.errors"})


def test_the_help_loads_no_command() -> None:
    modules = loaded(CALL, "--help")
    assert not modules & HEAVY
    homes = {f"lading.cli.{module}" for module, _ in COMMANDS.values()}
    assert not modules & homes


def test_the_version_loads_no_heavy_library() -> None:
    assert not loaded(CALL, "--version") & HEAVY


def test_a_commands_help_loads_no_library_of_servers() -> None:
    for name in set(COMMANDS) - {"serve"}:
        modules = loaded(CALL, name, "--help")
        assert not modules & (HEAVY - {"asyncio", "ssl"}), name


@pytest.mark.parametrize("name", ["", *GOLEM])
def test_the_group_of_commands_is_as_lazy(name: str) -> None:
    modules = loaded(CALL, "golem", *([name] if name else []), "--help")
    assert not modules & (HEAVY - {"asyncio", "sqlite3", "ssl"}), name
    homes = {f"lading.cli.{module}" for module, _ in GOLEM.values()}
    assert name or not modules & homes


def test_texts_and_numbers_on_the_command_line_load_no_pydantic() -> None:
    words = ["run", "./nowhere", "--timeout", "3", "--build-arg", "A=1", "--no-network"]
    modules = loaded("import lading.cli.root as r; r.app(standalone_mode=False)", *words)
    assert "lading.cli.run" in modules
    assert "pydantic" not in modules


def test_a_file_to_the_letter_is_validated_without_pydantic(tmp_path: Path) -> None:
    task = {"name": "a", "image": "b", "taskTemplate": "c", "inputs": [], "env": []}
    (tmp_path / "task.json").write_text(json.dumps(task))
    modules = loaded(CALL, "validate", str(tmp_path / "task.json"))
    assert "lading.contracts.processing.reading.letter" in modules
    assert not modules & (HEAVY | {"jinja2", "lading.contracts.processing.task"})


def test_a_schema_is_shown_without_pydantic() -> None:
    assert not loaded(CALL, "schema", "pc") & HEAVY


@pytest.mark.parametrize(("table", "name"), [(t, n) for t in (COMMANDS, GOLEM) for n in t])
def test_the_summary_is_the_first_line_of_the_commands_own_help(
    table: dict[str, tuple[str, str]], name: str
) -> None:
    module, summary = table[name]
    command = get_group(import_module(f"lading.cli.{module}").commands).commands[name]
    assert command.callback is not None
    assert (inspect.getdoc(command.callback) or "").splitlines()[0] == summary


def test_completion_knows_the_commands_and_their_flags() -> None:
    assert set(get_group(app).commands) == set(COMMANDS)
    assert set(get_group(golem).commands) == set(GOLEM)

    def complete(words: str, at: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from lading.cli import app; app(prog_name='lading')"],
            capture_output=True,
            check=False,
            timeout=60,
            env={
                **os.environ,
                "_LADING_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(at),
            },
        )
        return done.stdout.decode().split()

    assert complete("lading r", 1) == ["run", "receipt", "rm"]
    assert "--no-token" in complete("lading serve --no-t", 2)
    assert complete("lading golem r", 2) == ["run", "resume", "rm"]
    assert "--replicas" in complete("lading golem run --rep", 3)
