"""``lading check`` of a processing-container's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.processing import FILE_NAME, rules
from lading.folders.contents import examine_contents
from lading.folders.findings import Finding, Report
from lading.folders.recipe import RECIPE, examine_recipe, load_recipe

if TYPE_CHECKING:
    from lading.contracts.processing.template import ProcessingContainer
    from lading.folders.stages import Dockerfile

__all__ = ["EXAMPLE", "check_folder"]

EXAMPLE = "example"
"""The directory with ``inputs/<channel>``, ``outputs/<channel>`` and maybe a ``task.json``."""
_MOST_CHANNELS = 1000


def check_folder(folder: Path, report: Report) -> None:
    """Check a processing-container's folder; blocks on the disk.

    Parameters
    ----------
    folder : Path
        A directory.
    report : Report
        Gets what is found.
    """
    contents = examine_contents(folder, report)
    recipe = load_recipe(folder)
    container, found = _container(folder)
    for finding in found:
        report.add(finding)
    for finding in _of_example(folder, container):
        report.add(finding)
    if isinstance(recipe, Finding):
        report.add(recipe)
        return
    for finding in examine_recipe(recipe, contents):
        report.add(finding)
    for finding in _of_image(recipe, container):
        report.add(finding)


def _container(folder: Path) -> tuple[ProcessingContainer | None, list[Finding]]:
    from lading.contracts.processing.reading.files import check_file  # noqa: PLC0415
    from lading.contracts.processing.template import ProcessingContainer  # noqa: PLC0415

    # Not a template: what an image says may not depend on who reads it.
    report = check_file(os.fspath(folder / FILE_NAME), environment={}, kind="pc")
    found = []
    for one in report.findings:
        rule = rules.CONTAINER_FILE_INVALID if one.severity == "error" else rules.CONTAINER_FILE_ODD
        found.append(rule.at(FILE_NAME, one.text, line=one.line or None, fix=one.fix))
    model = report.model
    return (model if isinstance(model, ProcessingContainer) else None), found


def _of_image(recipe: Dockerfile, container: ProcessingContainer | None) -> Iterator[Finding]:
    stage = recipe.final
    if stage is None:
        return
    # A whole folder that is copied brings the file along.
    copied = any(
        FILE_NAME in word or word in (".", "./", "*", "*.json") or FILE_NAME in one.body
        for one in stage.all("COPY", "ADD")
        for word in one.words[:-1]
    )
    if not copied:
        yield rules.CONTAINER_FILE_NOT_COPIED.at(
            RECIPE, f"{FILE_NAME} is not in the image", line=stage.line
        )
    commands = [template.command for template in container.templates] if container else []
    if not all(commands) and stage.last("CMD") is None and stage.last("ENTRYPOINT") is None:
        yield rules.NOTHING_TO_RUN.at(RECIPE, "starts nothing", line=stage.line)


def _of_example(folder: Path, container: ProcessingContainer | None) -> Iterator[Finding]:
    example = folder / EXAMPLE
    if not example.is_dir():
        yield rules.EXAMPLE_MISSING.at(EXAMPLE, "there is none")
        return
    if (example / "task.json").exists():
        yield from _of_task(example / "task.json")
    if container is None:
        return
    for kind in ("inputs", "outputs"):
        known = {
            channel.name for one in container.templates for channel in getattr(one, kind) or ()
        }
        for name in _folders(example / kind):
            if name not in known:
                yield rules.EXAMPLE_UNFIT.at(
                    f"{EXAMPLE}/{kind}/{name}", f"no template has such a channel among its {kind}"
                )
    if len(container.templates) == 1:
        there = set(_folders(example / "inputs"))
        for channel in container.templates[0].inputs or ():
            if channel.name not in there:
                yield rules.EXAMPLE_UNFIT.at(
                    f"{EXAMPLE}/inputs", f"has no directory for the input {channel.name!r}"
                )


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return sorted(item.name for item in found if item.is_dir())[:_MOST_CHANNELS]
    except OSError:
        return []


def _of_task(path: Path) -> Iterator[Finding]:
    from lading.contracts.processing.reading.files import check_file  # noqa: PLC0415
    from lading.settings import environment  # noqa: PLC0415

    report = check_file(os.fspath(path), environment=environment(), kind="task", with_model=False)
    for one in report.findings:
        yield rules.EXAMPLE_UNFIT.at(
            f"{EXAMPLE}/task.json", one.text, line=one.line or None, fix=one.fix
        )
