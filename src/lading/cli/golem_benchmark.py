"""``lading golem benchmark``: how fast this machine is for an application."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import loop, printing
from lading.cli.golem_run import PullOption
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import Pull
from lading.contracts.golem.driver.options import DriverOptions
from lading.errors import InputError, TimedOut
from lading.settings import EngineOptions
from lading.units import format_seconds

if TYPE_CHECKING:
    from lading.cli.golem_session import Session
    from lading.contracts.golem.driver.container import Place
    from lading.contracts.golem.driver.journal import AppReference

commands = typer.Typer(rich_markup_mode=None)

_KNOBS = {"memory", "cpu", "network", "runtime"}


class Side(enum.StrEnum):
    """Whose benchmark."""

    PROVIDER = "provider"
    REQUESTOR = "requestor"


@commands.command()
@flags(EngineOptions, into="engine")
@flags(DriverOptions, into="driver", only=_KNOBS)
def benchmark(
    *,
    app: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE|APP.json", help="The application: its image, or its definition file."
        ),
    ],
    side: Annotated[Side, typer.Option(help="Which side of it is asked.")] = Side.PROVIDER,
    force: Annotated[
        bool, typer.Option("--force", help="Ask it again, though the score is known.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Seconds that it may take.")
    ] = 300.0,
    pull: PullOption = Pull.MISSING,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write all that is known to stdout as a JSON object.")
    ] = False,
    driver: Given,
    engine: Given,
) -> None:
    """Say how fast this machine is for an application.

    The score is the application's own, in units of its own. It is kept, and known at once for the
    same image with the same limits.
    """
    from lading.cli.golem_inputs import read_app  # noqa: PLC0415
    from lading.cli.run_options import positive  # noqa: PLC0415

    positive("--timeout", timeout)
    reference = read_app(app)
    options = DriverOptions(**driver)
    opened = engine_options(engine)

    async def main(_signals: loop.Signals) -> dict[str, Any]:
        from lading.cli.golem_session import session  # noqa: PLC0415

        async with session(opened, pull) as here:
            return await _score(here, reference, options, side, timeout, force=force)

    found = loop.run(main)
    if as_json:
        printing.json(found)
    else:
        best = f" of {found['best']:g} at the most" if found["best"] else ""
        when = "" if found["measured_now"] else f", measured {found['when']}"
        printing.note(f"{found['app']}: {found['score']:g}{best}{when}")
        printing.line(f"{found['score']:g}")


async def _score(
    here: Session,
    app: AppReference,
    options: DriverOptions,
    side: Side,
    timeout: float,
    *,
    force: bool,
) -> dict[str, Any]:
    environment, prerequisites, best = _prerequisites(app)
    image = await here.fetch(app.image)
    known = _Scores(here.state)
    limits = {name: getattr(options, name) for name in sorted(_KNOBS - {"network"})}
    key = json.dumps([environment, prerequisites, image.id, str(side), limits])
    entry = None if force else known.get(key)
    measured_now = entry is None
    if entry is None:
        place = await here.place(options)
        if side is Side.PROVIDER:
            where = (environment, prerequisites)
            score = await _ask_provider(here, app, place, timeout, where)
        else:
            score = await _ask_requestor(here, app, place, timeout)
        entry = {"score": score, "when": datetime.now(UTC).isoformat(timespec="seconds")}
        known.put(key, entry)
    return {
        "app": app.name,
        "image": app.image,
        "image_id": image.id,
        "environment": environment,
        "side": str(side),
        "score": entry["score"],
        "best": best,
        "when": entry["when"],
        "measured_now": measured_now,
    }


def _prerequisites(app: AppReference) -> tuple[str, dict[str, Any], float | None]:
    """Say in which environment it is asked, and what score would be the best."""
    from lading.contracts.golem.constants import DOCKER_CPU_ENV_ID  # noqa: PLC0415

    if app.definition:
        from lading.contracts.golem.appdefs import AppDefinition  # noqa: PLC0415

        known = AppDefinition.from_json(app.definition)
        best = known.max_benchmark_score or None
        environment = known.requestor_env
    else:
        environment, best = DOCKER_CPU_ENV_ID, None
    image, colon, tag = app.image.rpartition(":")
    if not colon or "/" in tag:
        image, tag = app.image, "latest"
    if "@" in image:
        raise InputError("IMAGE", f"{app.image!r} must have a tag, not a digest")
    return environment, {"image": image, "tag": tag}, best


async def _ask_provider(
    here: Session,
    app: AppReference,
    place: Place,
    timeout: float,
    environment: tuple[str, dict[str, Any]],
) -> float:
    def waits(_node: int, text: str) -> None:
        if text:
            printing.note(text)

    with tempfile.TemporaryDirectory(prefix="lading-g-") as folder:
        async with here.providers(place, app, waits) as providers:
            return await providers.benchmark(*environment, Path(folder), deadline=timeout)


async def _ask_requestor(here: Session, app: AppReference, place: Place, timeout: float) -> float:
    with tempfile.TemporaryDirectory(prefix="lading-g-") as folder:
        async with await here.requestor(place, app, Path(folder), "") as requestor:
            try:
                async with asyncio.timeout(timeout):
                    score = await requestor.run_benchmark()
            except TimeoutError:
                raise TimedOut(
                    f"{app.name}: RunBenchmark was not answered within {format_seconds(timeout)}",
                    seconds=timeout,
                    fix="allow it more time with --timeout",
                ) from None
            await requestor.shutdown()
            return score


class _Scores:
    """Scores that were measured before, in a file of the state directory."""

    def __init__(self, state: Path) -> None:
        self._path = state / "golem" / "benchmarks.json"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what is known, if anything is."""
        found = self._read().get(key)
        return found if isinstance(found, dict) and "score" in found and "when" in found else None

    def put(self, key: str, entry: dict[str, Any]) -> None:
        """Keep a score; of two who write at once, the last is right."""
        known = {**self._read(), key: entry}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
        aside.write_text(json.dumps(known, indent=1), "utf-8")
        aside.rename(self._path)

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self._path.read_text("utf-8"))
            if isinstance(known, dict):
                return known
        return {}
