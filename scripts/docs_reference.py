#!/usr/bin/env python3
"""Keep the reference pages in step with the program that they describe.

Parts of the pages under ``docs/reference`` stand between ``<!-- generated: NAME -->`` and
``<!-- end -->`` and are written from the code: options, commands, errors, the records' schema.

    python scripts/docs_reference.py           # write them
    python scripts/docs_reference.py --check   # exit code 1 where one is out of date

As a hook of MkDocs it lets no build pass that would publish an outdated page.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from typer.main import get_group

import lading.contracts.meca.calls  # noqa: F401  # its errors are to be found, too
from lading.cli.root import COMMANDS, app
from lading.contracts.golem.rules import GOLEM
from lading.contracts.meca.options import ExecutorOptions
from lading.contracts.meca.rules import MECA
from lading.contracts.processing.rules import PROCESSING
from lading.errors import LadingError
from lading.folders.findings import LEVELS
from lading.folders.rules import COMMON
from lading.settings import EngineOptions

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> dict[str, Any]:
    """Load every command of ``lading`` by its name."""
    group: Any = get_group(app)
    return {name: group.commands[name].load() for name in COMMANDS}


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def option_rows(options: type) -> list[list[str]]:
    """Describe every knob of an option set; its flags are those that the command really has."""
    flags = {
        param.name: [*param.opts, *param.secondary_opts] for param in commands()["serve"].params
    }
    rows = []
    for item in dataclasses.fields(options):
        default = item.default
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        if isinstance(default, bool):
            shown = shown.lower()
        shown = f"`{shown}`" if shown else ""
        flag = " / ".join(f"`{flag}`" for flag in flags[item.name])
        rows.append(
            [f"`{item.name}`", flag, f"`LADING_{item.name.upper()}`", shown, item.metadata["help"]]
        )
    return rows


def executor_options() -> str:
    """Write the table of the executor's options."""
    return table(["Key", "Flag", "Variable", "Default", "Meaning"], option_rows(ExecutorOptions))


def engine_options() -> str:
    """Write the table of the options of every command that needs an engine."""
    rows = [row[1:] for row in option_rows(EngineOptions)]
    return table(["Flag", "Variable", "Default", "Meaning"], rows)


def command_help() -> str:
    """Write what each command says with ``--help``."""
    os.environ.update(COLUMNS="92", TERMINAL_WIDTH="92", NO_COLOR="1")
    parts = []
    names = [""]
    for name, command in commands().items():
        inner = [f"{name} {part}" for part in getattr(command, "commands", ())]
        names += [name, *inner]
    for name in names:
        text = io.StringIO()
        words = name.split()
        with redirect_stdout(text):
            get_group(app).main([*words, "--help"], prog_name="lading", standalone_mode=False)
        title = f"lading {name}".strip()
        parts.append(f"## {title}\n\n```text\n{text.getvalue().strip()}\n```\n")
    return "\n".join(parts)


def errors() -> Iterator[tuple[int, type[Any]]]:
    """Yield every error with its depth in the tree."""

    def below(kind: type[Any], depth: int) -> Iterator[tuple[int, type[Any]]]:
        yield depth, kind
        for child in kind.__subclasses__():
            if child.__module__.startswith("lading."):
                yield from below(child, depth + 1)

    yield from below(LadingError, 0)


def summary(kind: type[Any]) -> str:
    """Take the first sentence of a docstring."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def error_table() -> str:
    """Write the table of errors."""
    rows = [
        [
            "&emsp;" * depth + f"`{kind.__name__}`",
            str(kind.http_status),
            str(kind.exit_code),
            summary(kind),
        ]
        for depth, kind in errors()
    ]
    return table(["`title`", "HTTP status", "Exit code", "What happened"], rows)


def exit_codes() -> str:
    """Write which errors end a command with which code."""
    found: dict[int, list[str]] = {}
    for _, kind in errors():
        if not kind.__module__.startswith("lading.contracts"):
            found.setdefault(kind.exit_code, []).append(f"`{kind.__name__}`")
    rows = [[f"`{code}`", ", ".join(names)] for code, names in sorted(found.items())]
    return table(["Exit code", "Errors"], rows)


def rule_table(rules: tuple[Any, ...]) -> str:
    """Write the table of some rules of ``lading check``, the worst first."""
    rows = [
        [f"`{rule.name}`", rule.level, rule.about, sentence(rule.why), sentence(rule.fix)]
        for rule in sorted(rules, key=lambda rule: LEVELS.index(rule.level))
    ]
    return table(["Rule", "Level", "What is found", "Why it matters", "What to do"], rows)


def sentence(text: str) -> str:
    """Write what a command prints as a sentence of a page; an address in it is no link."""
    return f"{text[0].upper()}{text[1:]}".replace("<", "&lt;")


def rules_of_all() -> str:
    """Write the rules for folders of all contracts."""
    return rule_table(COMMON)


def rules_of_meca() -> str:
    """Write the rules for task folders."""
    return rule_table(MECA)


def rules_of_processing() -> str:
    """Write the rules for folders of processing-containers."""
    return rule_table(PROCESSING)


def rules_of_golem() -> str:
    """Write the rules for folders of Golem applications."""
    return rule_table(GOLEM)


def records_schema() -> str:
    """Copy the schema of the records."""
    text = (ROOT / "src/lading/run/records.sql").read_text("utf-8")
    schema = text.partition("-- name: schema\n")[2].partition("-- name: ")[0]
    return f"```sql\n{schema.strip()}\n```\n"


def configuration_file() -> str:
    """Copy the configuration file that the executor's image holds."""
    text = (ROOT / "docker/mecanywhere_executor.yaml").read_text("utf-8")
    return f"```yaml\n{text.strip()}\n```\n"


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        executor_options,
        engine_options,
        command_help,
        error_table,
        exit_codes,
        rules_of_all,
        rules_of_meca,
        rules_of_processing,
        rules_of_golem,
        records_schema,
        configuration_file,
    )
}


def outdated() -> dict[Path, str]:
    """Find the pages that say something else than the code, and what they should hold."""
    found = {}
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text("utf-8")
        fresh = _PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[3]}", text)
        if fresh != text:
            found[page] = fresh
    return found


def on_pre_build(config: Any) -> None:  # noqa: ARG001  # as MkDocs calls it
    """Refuse to publish outdated pages."""
    if stale := outdated():
        names = ", ".join(page.name for page in stale)
        raise PluginError(f"out of date: {names}; run python scripts/docs_reference.py")


def main(arguments: list[str]) -> int:
    """Write what is out of date, or only tell."""
    stale = outdated()
    for page, text in stale.items():
        print(f"{page.relative_to(ROOT)}: out of date" if arguments else f"wrote {page}")
        if not arguments:
            page.write_text(text, "utf-8")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
