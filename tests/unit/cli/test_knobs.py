"""A knob is spelled once: flags come from the option set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lading.cli import app as the_app
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import RunOptions
from lading.contracts.meca.options import ExecutorOptions
from lading.errors import ConfigError
from lading.settings import EngineOptions, knob


@dataclass(frozen=True)
class Options:
    size: int = knob(3, "How big.", metavar="N")
    share: float = knob(0.5, "How much.")
    word: str = knob("", "Which word.", flag="--word -w")
    shiny: bool = knob(False, "Whether it shines.")
    no_fuss: bool = knob(False, "No fuss.")
    maybe: bool | None = knob(None, "Who knows.")
    parts: tuple[str, ...] = knob((), "What else.")


def given(*arguments: str) -> Given:
    """What a command gets."""
    app = typer.Typer(rich_markup_mode=None)
    seen: list[Given] = []

    @app.command()
    @flags(Options, into="knobs")
    def command(*, own: bool = False, knobs: Given) -> None:
        seen.append(knobs)

    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {}),
        (("--own",), {}),
        (("--size", "3"), {"size": 3}),
        (("--size", "0", "--share", "1"), {"size": 0, "share": 1.0}),
        (("-w", ""), {"word": ""}),
        (("--shiny",), {"shiny": True}),
        (("--no-shiny",), {"shiny": False}),
        (("--no-fuss",), {"no_fuss": True}),
        (("--no-maybe",), {"maybe": False}),
        (("--parts", "a", "--parts", "b"), {"parts": ("a", "b")}),
    ],
)
def test_only_what_was_given_is_passed_on(arguments: tuple[str, ...], expected: Given) -> None:
    assert given(*arguments) == expected


@pytest.mark.parametrize(
    ("options", "command"), [(ExecutorOptions, "serve"), (RunOptions, "run"), (EngineOptions, "ps")]
)
def test_every_knob_is_in_the_help(options: type, command: str) -> None:
    shown = CliRunner().invoke(the_app, [command, "--help"], env={"COLUMNS": "200"}).output
    for item in dataclasses.fields(options):
        flag = item.metadata["flag"] or "--" + item.name.replace("_", "-")
        assert flag.split()[0] in shown
        assert " ".join(item.metadata["help"].split()[:3]) in " ".join(shown.split())


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    monkeypatch.delenv("LADING_ENGINE", raising=False)
    monkeypatch.delenv("LADING_ENGINE_TIMEOUT", raising=False)
    return monkeypatch.setenv


def test_a_flag_beats_a_variable(variable: Callable[[str, str], None]) -> None:
    assert engine_options({}) == EngineOptions()
    variable("LADING_ENGINE", "podman")
    variable("LADING_ENGINE_TIMEOUT", "5")
    assert engine_options({}) == EngineOptions("podman", 5.0)
    flag: dict[str, Any] = {"engine": "docker"}
    assert engine_options(flag) == EngineOptions("docker", 5.0)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_variable_that_is_no_time(text: str, variable: Callable[[str, str], None]) -> None:
    variable("LADING_ENGINE_TIMEOUT", text)
    with pytest.raises(ConfigError):
        engine_options({})
