"""``lading golem run`` and ``resume``: a task from its parameters to its results."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import loop, printing
from lading.cli.images import build, builder_of
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import Pull, pairs
from lading.contracts.golem.driver.options import DriverOptions
from lading.errors import GolemTaskFailed, InputError, LadingError
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from lading.cli.golem_session import Session
    from lading.contracts.golem.driver.journal import Assignment, TaskRecord
    from lading.contracts.golem.driver.task import TaskOutcome

commands = typer.Typer(rich_markup_mode=None)

PullOption = Annotated[
    Pull, typer.Option("--pull", help="When images are fetched from their registry.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write what became of it to stdout as one JSON object.")
]
ParamsOption = Annotated[
    str,
    typer.Option("--params", metavar="FILE|JSON", help="The task's parameters, as a JSON object."),
]
ResourcesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resources",
        "-r",
        metavar="FILE|DIR",
        help="What the task works on: a file, or a directory whose content is meant; may be "
        "repeated.",
    ),
]
TagOption = Annotated[
    str, typer.Option("--tag", metavar="NAME", help="Name of the image that a folder becomes.")
]
BuildArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--build-arg",
        metavar="KEY=VALUE",
        help="Argument of the folder's Dockerfile; may be repeated.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]


@commands.command()
@flags(EngineOptions, into="engine")
@flags(DriverOptions, into="driver")
def run(
    *,
    app: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|IMAGE|APP.json",
            help="The application: a folder to build, its image, or its definition file.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where the results go: a directory that is empty, or not there yet.",
        ),
    ],
    params: ParamsOption = "{}",
    resources: ResourcesOption = None,
    tag: TagOption = "",
    build_arg: BuildArgOption = None,
    pull: PullOption = Pull.MISSING,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    driver: Given,
    engine: Given,
) -> None:
    """Run a task: split by its application, computed by many nodes.

    Each subtask is computed in a fresh container, as many at a time as there are nodes; what fails
    is computed again. Progress and a summary go to stderr, the output directory's name to stdout.

    The state is kept: a task that was interrupted, at whatever moment, goes on with
    `lading golem resume TASK`, and what was done is not done again.
    """
    from lading.cli.golem_inputs import read_app, read_params  # noqa: PLC0415
    from lading.contracts.golem.driver.journal import Assignment  # noqa: PLC0415

    if quiet:
        printing.be_quiet()
    assignment = Assignment(
        app=read_app(app, tag),
        params=read_params(params),
        resources=tuple(Path(given).absolute() for given in resources or ()),
        output=Path(output).absolute(),
        options=DriverOptions(**driver),
    )
    options = engine_options(engine)
    folder = Path(app) if Path(app).is_dir() else None
    build_args = pairs("--build-arg", "KEY=VALUE", tuple(build_arg or ()))
    _end(lambda: drive(assignment, options, pull, folder, build_args), as_json=as_json)


@commands.command()
@flags(EngineOptions, into="engine")
@flags(DriverOptions, into="driver")
def resume(
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The beginning of a task's id.")],
    pull: PullOption = Pull.MISSING,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    driver: Given,
    engine: Given,
) -> None:
    """Go on with a task whose command was stopped, killed, or failed.

    Subtasks that were done are not computed again. The options of its `run` hold on, but for those
    that are given here.
    """
    if quiet:
        printing.be_quiet()
    options = engine_options(engine)
    record, assignment = find_task(task)
    if driver:
        changed = dataclasses.replace(assignment.options, **driver)
        assignment = dataclasses.replace(assignment, options=changed)
    _end(lambda: _resume(record, assignment, options, pull), as_json=as_json)


def find_task(prefix: str) -> tuple[TaskRecord, Assignment]:
    """Find a task that can be resumed.

    Raises
    ------
    RecordNotFound
        There is none, or there are several.
    InputError
        It has ended, or a command drives it.
    """
    from lading.contracts.golem.driver.journal import Journal, journal_path  # noqa: PLC0415
    from lading.contracts.golem.driver.task import is_driven, task_home  # noqa: PLC0415

    if not prefix:
        raise InputError("TASK", "the name is empty", fix="`lading golem ps` lists them")
    state = state_directory()
    with Journal(journal_path(state)) as journal:
        record = journal.task(prefix)
        assignment = journal.assignment(record.task_id)
    if record.ended:
        raise InputError("TASK", f"{record.task_id} is {record.state}: nothing is left to do")
    if is_driven(task_home(state, record.task_id)):
        raise InputError(
            "TASK",
            f"{record.task_id} is being driven by another command",
            fix=f"`lading golem abort {record.task_id}` ends it",
        )
    return record, assignment


Ending = Callable[["Session", str, Path], contextlib.AbstractAsyncContextManager[None]]

_Main = Callable[[], Coroutine[Any, Any, tuple["TaskOutcome", "Assignment"]]]


def _end(main: _Main, *, as_json: bool) -> None:
    """Run it, and tell how it ended."""
    from lading.cli import golem_shown  # noqa: PLC0415

    outcome, assignment = loop.run(lambda _signals: main())
    golem_shown.summary(outcome)
    if as_json:
        printing.json(golem_shown.as_object(outcome, assignment))
    else:
        printing.line(str(outcome.output))


async def drive(
    assignment: Assignment,
    options: EngineOptions,
    pull: Pull,
    folder: Path | None,
    build_args: dict[str, str],
    *,
    ending: Ending | None = None,
) -> tuple[TaskOutcome, Assignment]:
    """Have a task computed, from its application's image to its results, and show how it goes.

    Parameters
    ----------
    assignment : Assignment
    options : EngineOptions
    pull : Pull
        When images are fetched.
    folder : Path or None
        To be built as the application's image.
    build_args : dict
        Of its Dockerfile.
    ending : callable or None
        Gets the session, the task's id and its home, and makes what surrounds the driving. None:
        whoever interrupts it is told how it goes on.

    Raises
    ------
    GolemTaskFailed, AppError, BuildFailed
        It can't be computed.
    """
    from lading.cli.golem_session import session  # noqa: PLC0415
    from lading.cli.golem_shown import Shown  # noqa: PLC0415
    from lading.contracts.golem.driver.task import (  # noqa: PLC0415
        check_assignment,
        run_task,
        task_home,
    )

    await check_assignment(assignment)
    async with session(options, pull) as here:
        if folder is not None:
            async with builder_of(here.engine) as builder:
                await build(builder, folder, tag=assignment.app.image, args=build_args, labels={})
        shown = Shown()
        home = task_home(here.state, assignment.task_id)
        place = await here.place(assignment.options)
        async with (ending or _told)(here, assignment.task_id, home), shown.live():
            app = await here.requestor(place, assignment.app, home, assignment.task_id)
            async with app, here.providers(place, assignment.app, shown.waits) as providers:
                outcome = await run_task(
                    app, providers, here.journal, assignment, home=home, on_event=shown
                )
    return outcome, assignment


async def _resume(
    record: TaskRecord, assignment: Assignment, options: EngineOptions, pull: Pull
) -> tuple[TaskOutcome, Assignment]:
    from lading.cli.golem_session import begun_on, session  # noqa: PLC0415
    from lading.cli.golem_shown import Shown  # noqa: PLC0415
    from lading.contracts.golem.driver.journal import TaskState  # noqa: PLC0415
    from lading.contracts.golem.driver.task import resume_task, task_home  # noqa: PLC0415

    home = task_home(state_directory().absolute(), record.task_id)
    async with session(await asyncio.to_thread(begun_on, home, options), pull) as here:
        shown = Shown()
        place = await here.place(assignment.options)
        async with (
            _told(here, record.task_id, home),
            shown.live(),
            contextlib.AsyncExitStack() as stack,
        ):
            app = None
            if record.state is not TaskState.FINISHING:
                made = await here.requestor(place, assignment.app, home, record.task_id)
                app = await stack.enter_async_context(made)
            providers = await stack.enter_async_context(
                here.providers(place, assignment.app, shown.waits)
            )
            outcome = await resume_task(
                app,
                providers,
                here.journal,
                record.task_id,
                home=home,
                options=assignment.options,
                on_event=shown,
            )
    return outcome, assignment


@contextlib.asynccontextmanager
async def _told(here: Session, task_id: str, home: Path) -> AsyncIterator[None]:
    """Say how a task goes on that did not end here; of one that never began, leave nothing."""
    try:
        yield
    except BaseException as error:
        record = _known(here, task_id)
        if record is None:
            from lading.engine.shield import to_the_end  # noqa: PLC0415

            await to_the_end(asyncio.to_thread(remove_empty, home))
        elif record.ended:
            if await asyncio.to_thread(home.exists):  # one that failed
                with contextlib.suppress(printing.OutputClosed):
                    printing.note(
                        f"task {task_id}: failed; what it had by then is in {home}, and "
                        f"`lading golem rm {task_id}` removes that"
                    )
        elif not record.ended:
            how = f"`lading golem resume {task_id}` goes on with it"
            if isinstance(error, LadingError) and not isinstance(error, GolemTaskFailed):
                error.fix = f"{error.fix}; then {how}" if error.fix else how
            else:
                with contextlib.suppress(printing.OutputClosed):
                    printing.note(f"task {task_id}: stopped; {how}")
        raise


def _known(here: Session, task_id: str) -> TaskRecord | None:
    with contextlib.suppress(LadingError):
        return here.journal.task(task_id)
    return None


def remove_empty(home: Path) -> None:
    """Remove the home of a task that never began; blocks."""
    from lading.cli.golem_session import ENGINE_FILE  # noqa: PLC0415

    (home / ENGINE_FILE).unlink(missing_ok=True)
    for path in (home / "work", home):
        with contextlib.suppress(OSError):
            path.rmdir()
