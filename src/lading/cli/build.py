"""``lading build``: the image of a task's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import images, loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import pairs
from lading.contracts.meca.folder import CONFIG_LABEL
from lading.errors import ConfigError, InputError
from lading.run.creation import CONTRACT_LABEL, TASK_LABEL
from lading.settings import EngineOptions, environment, knob

if TYPE_CHECKING:
    from lading.engine import ImageInfo

__all__ = ["commands", "default_tag", "labels_of"]

commands = typer.Typer(rich_markup_mode=None)

_OCI = "org.opencontainers.image."
"""Keys: https://github.com/opencontainers/image-spec/blob/main/annotations.md."""
_LAST_YEAR = 9999


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The flags of ``lading build``."""

    tag: str | None = knob(
        None, "Name of the image. Default: lading-task/<name>:dev.", metavar="NAME"
    )
    build_arg: tuple[str, ...] = knob(
        (), "Argument of the Dockerfile; may be repeated.", metavar="KEY=VALUE"
    )
    label: tuple[str, ...] = knob(
        (), "Label of the image, besides those it gets; may be repeated.", metavar="KEY=VALUE"
    )
    platform: str | None = knob(
        None, "Platform to build for, as linux/arm64. Default: the engine's.", metavar="OS/ARCH"
    )
    target: str | None = knob(
        None, "Stage of the Dockerfile to build. Default: its last.", metavar="STAGE"
    )
    sbom: str | None = knob(
        None,
        "Write a bill of materials of the image (SPDX, JSON) to this file, if syft or "
        "`docker sbom` is installed.",
        metavar="FILE",
    )


@commands.command()
@flags(EngineOptions, into="engine")
@flags(BuildOptions, into="given")
def build(
    *,
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="The folder of a task, of any contract.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Write what was built to stdout as one JSON object.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    given: Given,
    engine: Given,
) -> None:
    """Build the image of a task's folder.

    By BuildKit where the engine has it, by its other builder where not. What .dockerignore leaves
    out is not sent. The image gets labels that say what the folder says: its title, description,
    contract and limits. With SOURCE_DATE_EPOCH set, times in the image are that one.
    """
    if quiet:
        printing.be_quiet()
    path, options = Path(folder), BuildOptions(**given)
    labels = {**labels_of(path), **pairs("--label", "KEY=VALUE", options.label)}
    tag = options.tag or default_tag(path)
    which = engine_options(engine)
    image, bill = loop.run(lambda _signals: _build(path, tag, labels, options, which))
    if as_json:
        value = {"tag": tag, "image": image.id, "size": image.size, "labels": dict(image.labels)}
        printing.json({**value, "architecture": image.architecture, "sbom": bill})
    else:
        printing.line(f"{tag} {image.id}")


async def _build(
    folder: Path, tag: str, labels: dict[str, str], options: BuildOptions, which: EngineOptions
) -> tuple[ImageInfo, str | None]:
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    async with await open_engine(which) as engine:
        image = await images.build(
            engine,
            folder,
            tag=tag,
            args=pairs("--build-arg", "KEY=VALUE", options.build_arg),
            labels=labels,
            platform=options.platform,
            target=options.target,
            epoch=epoch(),
        )
        if options.sbom is None:
            return image, None
        from lading.cli.bill_of_materials import write_bill  # noqa: PLC0415

        return image, await write_bill(engine, image, tag, Path(options.sbom))


def epoch() -> int | None:
    """Read ``SOURCE_DATE_EPOCH``, in seconds since 1970; None where it is not set.

    Raises
    ------
    InputError
        It is no such number.
    """
    text = environment().get(images.EPOCH, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > len("253402300799"):
        raise InputError(images.EPOCH, f"{text!r} is no number of seconds since 1970")
    seconds = int(text)
    if seconds >= datetime(_LAST_YEAR, 12, 31, tzinfo=UTC).timestamp():
        raise InputError(images.EPOCH, f"{text} seconds after 1970 is later than any year of ours")
    return seconds


def default_tag(folder: Path) -> str:
    """Name the image of a folder, where nobody says how: ``lading-task/<name>:dev``."""
    from lading.cli.test import kind_of  # noqa: PLC0415
    from lading.run.build_context import trial_tag  # noqa: PLC0415

    if kind_of(folder) == "meca":
        from lading.contracts.meca import folder as meca  # noqa: PLC0415

        return meca.default_tag(meca.read_folder(folder))
    return trial_tag(folder.resolve().name)


def labels_of(folder: Path) -> dict[str, str]:
    """Say in labels what a task's folder says; blocks on the disk.

    When it was made is said only if ``SOURCE_DATE_EPOCH`` is set: the engine notes it anyway, and
    the same folder becomes the same image otherwise.

    Parameters
    ----------
    folder : Path
        Of any contract.

    Returns
    -------
    dict of str to str
        ``lading.task``, ``lading.contract``, ``lading.config`` and ``org.opencontainers.image.*``.

    Raises
    ------
    ConfigError
        It is no task's folder, or a file in it can't be used.
    """
    from lading.cli.test import kind_of  # noqa: PLC0415

    if not (folder / "Dockerfile").is_file():
        reason = "has no Dockerfile" if folder.is_dir() else "there is no such folder"
        raise ConfigError(str(folder), reason, fix="name the folder of a task")
    kind = kind_of(folder)
    name, more = {"meca": _of_meca, "processing": _of_processing, "golem": _of_golem}[kind](folder)
    labels = {TASK_LABEL: name, CONTRACT_LABEL: kind, f"{_OCI}title": name, **more}
    if (seconds := epoch()) is not None:
        made = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
        labels[f"{_OCI}created"] = made
    return {key: value for key, value in labels.items() if value}


Found = tuple[str, dict[str, str]]


def _of_meca(folder: Path) -> Found:
    from lading.contracts.meca.folder import CONFIG, read_folder  # noqa: PLC0415

    task = read_folder(folder)
    more = {f"{_OCI}description": task.description}
    try:
        config: Any = json.loads((task.path / CONFIG).read_text("utf-8-sig"))
    except (FileNotFoundError, ValueError):
        config = None  # none, or an empty one: the contract's defaults; others were refused
    if config is not None:
        more[CONFIG_LABEL] = json.dumps(config, separators=(",", ":"), ensure_ascii=False)
    return task.name, more


def _of_processing(folder: Path) -> Found:
    from lading.contracts.processing import FILE_NAME  # noqa: PLC0415
    from lading.contracts.processing.reading.files import load_container  # noqa: PLC0415

    path = folder / FILE_NAME
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"can't be read: {error}") from None
    found, _ = load_container(text, source=str(path), environment=None)
    return found.name, {f"{_OCI}description": found.description or ""}


def _of_golem(folder: Path) -> Found:
    from lading.contracts.golem.appdefs import read_app_definition  # noqa: PLC0415

    app = read_app_definition(folder / "app.json")
    return app.name, {
        f"{_OCI}description": app.description,
        f"{_OCI}authors": app.author,
        f"{_OCI}licenses": app.license,
        f"{_OCI}version": app.version,
    }
