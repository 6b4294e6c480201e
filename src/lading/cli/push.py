"""``lading push``: a task published, by its content or at a registry, and listed with its fee."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import images, loop, printing
from lading.cli.build import default_tag, epoch, labels_of
from lading.cli.check import contract_of, examine
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.places import IPFS, ContentOptions, content_options, destination
from lading.cli.run_options import pairs
from lading.errors import ConfigError, ContentRefused, InputError
from lading.settings import EngineOptions, environment, knob, state_directory

if TYPE_CHECKING:
    from lading.content.adding import Added
    from lading.engine import Engine, ImageInfo
    from lading.market.catalogue import Listing

__all__ = ["commands"]

commands = typer.Typer(rich_markup_mode=None)

_NO_MARKET = "none"


@dataclass(frozen=True, slots=True)
class PushOptions:
    """The flags of ``lading push``."""

    to: str | None = knob(
        None, "Where it is published.", metavar="ipfs://|registry://HOST/NAME:TAG"
    )
    image: bool = knob(
        False, "For ipfs://: publish the image, too, as an OCI layout with a CID of its own."
    )
    car: str | None = knob(
        None, "For ipfs://: write a CAR file instead of asking a node.", metavar="FILE"
    )
    tag: str | None = knob(
        None, "Name that a built image has here. Default: lading-task/<name>:dev.", metavar="NAME"
    )
    build_arg: tuple[str, ...] = knob(
        (), "Argument of the Dockerfile; may be repeated.", metavar="KEY=VALUE"
    )
    fee: str | None = knob(
        None,
        "What each successful execution costs, as 0.25. Default: what it was, or 0.",
        metavar="FEE",
    )
    developer: str | None = knob(
        None,
        "Who is owed the fee. Default: LADING_DEVELOPER, or who it was.",
        metavar="NAME",
    )
    market: str = knob(
        "",
        "Catalogue that it is listed in: a path of SQLite, postgresql://USER@HOST/NAME, or none. "
        "Default: LADING_MARKET, or market.sqlite in the state directory.",
        metavar="URL",
    )
    force: bool = knob(False, "Publish it although `lading check` finds errors.")


@commands.command()
@flags(EngineOptions, into="engine")
@flags(ContentOptions, into="content", only=("ipfs_api", "fetch_timeout"))
@flags(PushOptions, into="given")
def push(
    *,
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="The folder of a task, of any contract.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Write what was published as one JSON object.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    given: Given,
    content: Given,
    engine: Given,
) -> None:
    """Publish a task: its image to a registry, or its folder to IPFS.

    It is checked first, and refused with errors. To ipfs:// goes the folder as it is, without
    what begins with a dot; whoever runs it by its CID builds it. To registry:// goes the image,
    which is built first, with the credentials that Docker's configuration has.

    A task that serves is then listed in the catalogue, with its limits, developer and fee, so that
    executors which use it offer it and write down what is owed.

    What was published is written to stdout: the address by which it is run.
    """
    if quiet:
        printing.be_quiet()
    options = PushOptions(**given)
    ref = destination("--to", options.to)
    _refuse(options, ref)
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ConfigError(folder, "there is no such folder", fix="name the folder of a task")
    offer = _offer(path, options)
    _check(path, force=options.force)
    work = _Push(path, ref, options, content_options(content), engine_options(engine))
    published = loop.run(lambda _: work.all())
    if offer is not None:
        offer.record(published)
    if as_json:
        printing.json(published | {"listing": None if offer is None else offer.listed})
    else:
        for name in ("address", "image_address"):
            if published.get(name):
                printing.line(str(published[name]))


def _refuse(options: PushOptions, ref: str | None) -> None:
    if ref is not None:
        for name, value in (("--image", options.image), ("--car", options.car)):
            if value:
                raise InputError(name, f"is for {IPFS}: to a registry goes the image and no file")
    elif (options.tag or options.build_arg) and not options.image:
        raise InputError(
            "--tag and --build-arg",
            f"are for images, and to {IPFS} goes the folder",
            fix="add --image to publish its image, too",
        )


def _check(folder: Path, *, force: bool) -> None:
    """Refuse what has errors; the rest is for ``lading check`` to tell.

    Raises
    ------
    ContentRefused
        There are errors.
    """
    report = examine(folder)
    for finding in report.errors:
        place = f"{folder}/{finding.place}" if finding.file != "." else str(folder)
        printing.detail(f"{place}: {finding.what} [{finding.rule}]\n  fix: {finding.fix}")
    if count := len(report.errors):
        what = f"{folder} has {count} error{'s' if count > 1 else ''}"
        if not force:
            raise ContentRefused(
                f"{what}, and is not published",
                fix=f"mend them (`lading check {folder}` has more), or publish it with --force",
            )
        printing.warn(f"{what}, and is published all the same")
    elif count := len(report.warnings):
        warnings = "a warning" if count == 1 else f"{count} warnings"
        printing.note(f"{warnings}: `lading check {folder}` tells more")


class _Push:
    """A task on its way to be published."""

    def __init__(
        self,
        folder: Path,
        ref: str | None,
        options: PushOptions,
        content: ContentOptions,
        engine: EngineOptions,
    ) -> None:
        self._folder = folder
        self._ref = ref
        self._options = options
        self._content = content
        self._which = engine

    async def all(self) -> dict[str, Any]:
        """Publish it, and say as what."""
        if self._ref is not None:
            return await self._to_registry(self._ref)
        return await self._to_ipfs()

    async def _to_registry(self, ref: str) -> dict[str, Any]:
        from lading.content.registry import push as push_image  # noqa: PLC0415
        from lading.engine.discovery import open_engine  # noqa: PLC0415

        async with await open_engine(self._which) as engine:
            image = await self._build(engine)
            with printing.Live(f"push {ref}") as live:
                pushed = await push_image(engine, image.id, ref, progress=printing.layers(live))
        return {
            "address": pushed.pinned,
            "image": pushed.ref,
            "image_id": image.id,
            "digest": pushed.digest,
        }

    async def _to_ipfs(self) -> dict[str, Any]:
        from lading.content.adding import PROFILE  # noqa: PLC0415

        # First what may fail: of a task whose image can't be made nothing is published.
        async with self._layout() as (layout, digest):
            added = await self._add(self._folder, self._options.car)
            value: dict[str, Any] = {
                "address": f"{IPFS}{added.cid}",
                "cid": str(added.cid),
                "size": added.size,
                "files": added.files,
                "car": self._options.car,
                "profile": {**PROFILE, "hidden": False},
            }
            if layout is not None:
                car = self._options.car and _beside(self._options.car)
                of_image = await self._add(layout, car)
                value |= {
                    "image_address": f"{IPFS}{of_image.cid}",
                    "image_cid": str(of_image.cid),
                    "image_size": of_image.size,
                    "image_car": car,
                    "digest": digest,
                }
        return value

    @asynccontextmanager
    async def _layout(self) -> AsyncIterator[tuple[Path | None, str | None]]:
        """Build the image and write it as a folder, where it is to be published; gone after it."""
        if not self._options.image:
            yield None, None
            return
        from lading.content.layout import write_layout  # noqa: PLC0415
        from lading.contracts.meca.fetched import forget_dead, work_folder  # noqa: PLC0415
        from lading.engine.discovery import open_engine  # noqa: PLC0415
        from lading.run.ownership import Owner  # noqa: PLC0415

        state = state_directory()
        await asyncio.to_thread(forget_dead, state)
        owner = await asyncio.to_thread(Owner.claim, state)
        try:
            async with work_folder(owner) as place:
                layout = place / "image"
                async with await open_engine(self._which) as engine:
                    image = await self._build(engine)
                    with printing.Live("image layout") as live:
                        live("writing")
                        async with engine.save(image.id) as archive:
                            digest = await write_layout(archive, layout, dict(image.labels))
                yield layout, digest
        finally:
            owner.release()

    async def _add(self, path: Path, car: str | None) -> Added:
        """Give it to the node, or write the file."""
        if car is not None:
            from lading.content.car import write_car  # noqa: PLC0415
            from lading.content.stoppable import in_thread  # noqa: PLC0415

            target = Path(car)
            with printing.Live(f"write {target}") as live:
                live("adding")
                return await in_thread(write_car, path, target)
        from lading.content.ipfs import Node  # noqa: PLC0415
        from lading.units import format_bytes  # noqa: PLC0415

        content = self._content
        async with Node(content.ipfs_api, timeout=content.fetch_timeout) as node:
            with printing.Live(f"add {path.name}") as live:
                live("reading it")

                def show(sent: int, total: int) -> None:
                    live.part(format_bytes(sent), sent / total if total else None)

                return await node.add(path, progress=show)

    async def _build(self, engine: Engine) -> ImageInfo:
        folder = self._folder
        return await images.build(
            engine,
            folder,
            tag=self._options.tag or default_tag(folder),
            args=pairs("--build-arg", "KEY=VALUE", self._options.build_arg),
            labels=await asyncio.to_thread(labels_of, folder),
            epoch=epoch(),
        )


def _beside(car: str) -> str:
    """Name the file of the image, after that of the folder."""
    path = Path(car)
    return str(path.with_name(f"{path.stem}.image{path.suffix or '.car'}"))


# The catalogue.


def _offer(folder: Path, options: PushOptions) -> _Offer | None:
    """Read what the listing will say, so that nothing is published that can't be listed.

    Raises
    ------
    InputError
        The fee is none, or nobody would be owed it.
    """
    is_served = contract_of(folder) == "meca"
    if not is_served or options.market == _NO_MARKET:
        why = "--market is none" if is_served else "only tasks that serve are listed in one"
        for flag, value in (("--fee", options.fee), ("--developer", options.developer)):
            if value is not None:
                raise InputError(flag, f"stands in a catalogue, and {why}")
        return None
    from lading.market.money import parse_fee  # noqa: PLC0415

    fee = None if options.fee is None else parse_fee(options.fee, "--fee")
    developer = options.developer or environment().get("LADING_DEVELOPER") or ""
    if fee and not developer:
        raise InputError("--developer", "a fee is owed to somebody", fix="add --developer NAME")
    return _Offer(folder, fee, developer, options.market)


class _Offer:
    """What is said of a task in the catalogue."""

    def __init__(self, folder: Path, fee: Any, developer: str, market: str) -> None:
        self._folder = folder
        self._fee = fee
        self._developer = developer
        self._market = market
        self.listed: dict[str, Any] = {}

    def record(self, published: dict[str, Any]) -> None:
        """List it; blocks.

        Raises
        ------
        MarketUnavailable
            It is published, and not listed.
        """
        from lading.market.money import fee_text, to_millionths  # noqa: PLC0415
        from lading.market.store import open_market  # noqa: PLC0415

        with open_market(self._market) as market:
            listing = market.catalogue.publish(self._listing(published, market.catalogue.list))
            where = market.shown
        fee = fee_text(to_millionths(listing.fee))
        self.listed = {
            "id": listing.id,
            "name": listing.name,
            "developer": listing.developer,
            "fee": fee,
            "market": where,
        }
        owed = f"{fee} to {listing.developer}" if listing.developer else fee
        printing.note(f"listed as {listing.name or listing.id}, fee {owed}, in {where}")

    def _listing(self, published: dict[str, Any], listed: Any) -> Listing:
        from decimal import Decimal  # noqa: PLC0415

        from lading.contracts.meca.folder import read_folder  # noqa: PLC0415
        from lading.market.catalogue import Listing  # noqa: PLC0415

        task = read_folder(self._folder)
        name = published.get("cid") or published["image"]
        before = next((one for one in listed(retired=True) if one.id == name), None)
        fee = self._fee if self._fee is not None else (before.fee if before else Decimal(0))
        return Listing(
            cid=published.get("cid"),
            image=published.get("image") or published.get("image_cid"),
            digest=published.get("digest"),
            profile=json.dumps(profile) if (profile := published.get("profile")) else "",
            name=task.name,
            description=task.description,
            cpus=task.limits.cpus,
            memory=task.limits.memory,
            gpus=task.limits.gpus,
            sgx=task.limits.sgx,
            developer=self._developer or (before.developer if before else ""),
            fee=fee,
        )
