"""A Golem application tried: the task that its folder describes, computed by one node.

The folder holds ``app.json``, ``params.json``, and maybe ``resources/``; what its task gives is
compared with ``example/outputs/`` where there is such a directory, and must be something otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lading.contracts.golem.appdefs import read_app_definition
from lading.contracts.golem.driver.journal import AppReference, Assignment, Journal
from lading.contracts.golem.driver.options import DriverOptions
from lading.contracts.golem.driver.task import abort_task, forget_task
from lading.errors import ConfigError, OutputDiffers, RecordNotFound
from lading.folders.examples import Finding, compare_trees, differences

__all__ = ["DEFINITION", "OUTPUTS", "PARAMS", "Results", "judged", "leave_nothing", "read_example"]

DEFINITION, PARAMS, RESOURCES = "app.json", "params.json", "resources"
OUTPUTS = Path("example/outputs")

_SUBTASKS = 4
"""More than one, so that the application has to split and to put together."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a task gave.

    Parameters
    ----------
    files, size : int
        How many, and bytes of all together.
    findings : list of Finding
        For each file, where there is an example.
    error : OutputDiffers or None
        Why it did not pass.
    """

    files: int
    size: int
    findings: list[Finding] = field(default_factory=list)
    error: OutputDiffers | None = None


def read_example(
    folder: Path, output: Path, *, image: str, driver: Mapping[str, Any]
) -> Assignment:
    """Read what an application's folder has for trying it; blocks on the disk.

    Parameters
    ----------
    folder : Path
    output : Path
        A directory for the results that is not there yet.
    image : str
        Another one than its definition names; empty: that one.
    driver : mapping
        Knobs of :class:`DriverOptions` beside those that make it a trial.

    Raises
    ------
    ConfigError
        A file is missing, or can't be used.
    FileInvalid
        Its definition is none.
    """
    definition = read_app_definition(folder / DEFINITION)
    resources = folder / RESOURCES
    _check_inside(resources, folder)
    return Assignment(
        app=AppReference(definition.name, image or definition.image, definition.to_json()),
        params=_params(folder / PARAMS),
        resources=(resources.absolute(),) if resources.is_dir() else (),
        output=output,
        # A try that fails is what is looked for: no second one hides it.
        options=DriverOptions(nodes=1, max_subtasks=_SUBTASKS, retries=0, **driver),
    )


def _check_inside(resources: Path, folder: Path) -> None:
    """Refuse links that lead outside: they are followed, and the folder's author is a stranger."""
    home = folder.resolve()
    for path in (resources, *resources.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise ConfigError(
                str(path),
                f"lies outside the folder, in {path.resolve()}",
                fix="copy what the task needs into the folder",
            )


def _params(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            str(path),
            "there is no such file, so there is no task to compute",
            fix="write the parameters of a small task into it, as a JSON object",
        ) from None
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError(place, f"is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), f"is not JSON: {error}") from None
    except OSError as error:
        raise ConfigError(str(path), f"can't be read: {error.strerror}") from None
    if not isinstance(value, dict):
        raise ConfigError(str(path), "must hold a JSON object", fix='write {"name": value}')
    return value


def judged(folder: Path, output: Path, *, update: bool, exact: bool) -> Results:
    """See whether results came, and compare them where there is an example; blocks on the disk.

    Parameters
    ----------
    folder : Path
        Of the application.
    output : Path
        The directory with the results.
    update : bool
        Whether what came is the example from now on, so that it is not compared.
    exact : bool
        Whether only the same bytes will do.
    """
    sizes = [
        path.stat(follow_symlinks=False).st_size
        for path in output.rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    results = Results(len(sizes), sum(sizes))
    if not results.size:
        what = "only empty files came of it" if sizes else "nothing came of it"
        return Results(len(sizes), 0, error=OutputDiffers(f"the task was computed, and {what}"))
    if update or not (folder / OUTPUTS).is_dir():
        return results
    findings = compare_trees(folder / OUTPUTS, output, exact=exact)
    words, diff = differences(findings)
    error = None
    if words:
        error = OutputDiffers(f"what came is not what the example says: {words}", diff=diff)
    return Results(results.files, results.size, findings, error)


async def leave_nothing(journal: Journal, task_id: str, *, home: Path) -> None:
    """Forget a task that nobody drives any more, and remove what is left of it.

    Its application is not told: its containers are gone.

    Raises
    ------
    RecordError
        Something can't be removed.
    """
    try:
        ended = journal.task(task_id).ended
    except RecordNotFound:
        return
    if not ended:
        await abort_task(None, journal, task_id, home=home)
    await forget_task(journal, task_id, home=home)
