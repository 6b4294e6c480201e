"""``lading check`` of a Golem application's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lading.contracts.golem import rules
from lading.contracts.golem.appdefs import read_app_definition
from lading.errors import FileInvalid
from lading.folders.contents import examine_contents
from lading.folders.documents import parse_json, read_whole
from lading.folders.findings import Finding, Report
from lading.folders.recipe import RECIPE, examine_recipe, load_recipe
from lading.folders.stages import Dockerfile

__all__ = ["DEFINITION", "check_folder"]

DEFINITION, PARAMS = "app.json", "params.json"
_LARGEST = 8 << 20


def check_folder(folder: Path, report: Report) -> None:
    """Check a Golem application's folder; blocks on the disk.

    Parameters
    ----------
    folder : Path
        A directory.
    report : Report
        Gets what is found.
    """
    contents = examine_contents(folder, report)
    recipe = load_recipe(folder)
    for finding in (*_of_definition(folder), *_of_params(folder)):
        report.add(finding)
    if isinstance(recipe, Finding):
        report.add(recipe)
        return
    for finding in (*examine_recipe(recipe, contents), *_of_entry(recipe)):
        if finding.rule != "command-shell-form":  # which is worse here, and told so
            report.add(finding)


def _of_definition(folder: Path) -> Iterator[Finding]:
    content = read_whole(folder / DEFINITION, _LARGEST)
    if content.data is None:
        yield rules.APP_DEFINITION_INVALID.at(DEFINITION, content.wrong)
        return
    document = parse_json(content.data)
    if document.wrong:
        yield rules.APP_DEFINITION_INVALID.at(DEFINITION, document.wrong, line=document.line)
        return
    try:
        definition = read_app_definition(folder / DEFINITION)
    except FileInvalid as error:
        for line in error.findings:
            yield rules.APP_DEFINITION_INVALID.at(
                DEFINITION, line.removeprefix(f"{folder / DEFINITION}: ")
            )
        return
    if definition.requestor_prereq.get("tag", "latest") in ("", "latest"):
        yield rules.APP_IMAGE_UNTAGGED.at(DEFINITION, f"names the image {definition.image}")


def _of_params(folder: Path) -> Iterator[Finding]:
    content = read_whole(folder / PARAMS, _LARGEST)
    if not content.there:
        yield rules.EXAMPLE_PARAMS_MISSING.at(PARAMS, "there is none")
    elif content.data is None:
        yield rules.PARAMS_INVALID.at(PARAMS, content.wrong)
    else:
        document = parse_json(content.data)
        if document.wrong:
            yield rules.PARAMS_INVALID.at(PARAMS, document.wrong, line=document.line)
        elif not isinstance(document.value, dict):
            yield rules.PARAMS_INVALID.at(PARAMS, "is no JSON object", line=1)


def _of_entry(recipe: Dockerfile) -> Iterator[Finding]:
    if recipe.final is None:
        return
    entry = recipe.final.last("ENTRYPOINT")
    if entry is None:
        yield rules.ENTRYPOINT_MISSING.at(RECIPE, "has none", line=recipe.final.line)
    elif not entry.is_list:
        yield rules.ENTRYPOINT_SHELL_FORM.at(
            RECIPE, "ENTRYPOINT is a line for a shell", line=entry.line
        )
