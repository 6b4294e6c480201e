"""``lading tasks list``, ``show``, ``fee`` and ``retire``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import printing
from lading.cli.runs import JsonOption
from lading.contracts.meca.request import TaskLimits, as_resource
from lading.units import format_bytes, format_cores

if TYPE_CHECKING:
    from lading.market.catalogue import Change, Listing

commands = typer.Typer(rich_markup_mode=None)

MarketOption = Annotated[
    str,
    typer.Option(
        "--market",
        metavar="URL",
        help="Catalogue and ledger: a path of SQLite, or postgresql://USER@HOST/NAME. "
        "Default: LADING_MARKET, or market.sqlite in the state directory.",
        show_default=False,
    ),
]
TaskArgument = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="Its CID, the last ten characters of it, its image, digest or name, or the unique "
        "beginning of one.",
        show_default=False,
    ),
]


@commands.command("list")
def list_tasks(
    *,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also those that are offered no longer.")
    ] = False,
    market: MarketOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the tasks that are offered."""
    from lading.market.store import open_market  # noqa: PLC0415

    with open_market(market) as opened:
        found = opened.catalogue.list(retired=everything)
    if as_json:
        printing.json([describe(one) for one in found])
        return
    heads = ["TASK", "NAME", "DEVELOPER", "FEE", "CPU", "MEMORY", "GPUS", "STATE", "CHANGED"]
    printing.table(heads, [_row(one) for one in found])


@commands.command()
def show(*, task: TaskArgument, market: MarketOption = "", as_json: JsonOption = False) -> None:
    """Show all that is known of a task, and what it was before."""
    from lading.market.store import open_market  # noqa: PLC0415

    with open_market(market) as opened:
        found = opened.catalogue.find(task)
        history = [_change(one) for one in opened.catalogue.history(found.id)]
    known = describe(found)
    if as_json:
        printing.json(known | {"history": history})
        return
    resource = known.pop("resource")
    printing.pairs(
        known
        | {
            "cpu": format_cores(found.cpus),
            "memory": format_bytes(found.memory),
            "gpus": resource["gpu_count"] or None,
            "sgx": "yes" if found.sgx else None,
        }
    )
    heads = ["CHANGED", "FEE", "DEVELOPER", "STATE", "DIGEST"]
    printing.line("")
    printing.table(heads, [[str(one[head.lower()] or "") for head in heads] for one in history])


@commands.command()
def fee(
    *,
    task: TaskArgument,
    amount: Annotated[
        str,
        typer.Argument(
            metavar="FEE", help="For each successful execution, such as 0.25.", show_default=False
        ),
    ],
    market: MarketOption = "",
    as_json: JsonOption = False,
) -> None:
    """Change the fee of a task.

    It holds for requests that come a second later or more. What is in the ledger stays as it is,
    and so does what is being executed.
    """
    from lading.market.money import parse_fee  # noqa: PLC0415
    from lading.market.store import open_market  # noqa: PLC0415

    wanted = parse_fee(amount, "FEE")
    with open_market(market) as opened:
        found = opened.catalogue.set_fee(task, wanted)
    _tell(found, f"the fee of {found.id} is {found.fee} now", as_json=as_json)


@commands.command()
def retire(*, task: TaskArgument, market: MarketOption = "", as_json: JsonOption = False) -> None:
    """Offer a task no longer.

    The ledger keeps what is owed. Publishing it again offers it again. Executors refuse it where
    only what is listed may run (`listed_only`); others still run it, and nobody is owed for that.
    """
    from lading.market.store import open_market  # noqa: PLC0415

    with open_market(market) as opened:
        found = opened.catalogue.retire(task)
    _tell(found, f"{found.id} is offered no longer", as_json=as_json)


def _tell(listing: Listing, text: str, *, as_json: bool) -> None:
    if as_json:
        printing.json(describe(listing))
    else:
        printing.note(text)


def describe(listing: Listing) -> dict[str, Any]:
    """Write a listing for programs; money is text, so that nobody reads it as a float."""
    return {
        "id": listing.id,
        "cid": listing.cid,
        "image": listing.image,
        "digest": listing.digest,
        "name": listing.name,
        "profile": json.loads(listing.profile) if listing.profile else None,
        "description": listing.description,
        "developer": listing.developer,
        "fee": str(listing.fee),
        "state": str(listing.state),
        "published": time_text(listing.published),
        "changed": time_text(listing.changed),
        "resource": as_resource(
            TaskLimits(listing.cpus, listing.memory, listing.gpus, sgx=listing.sgx)
        ),
    }


def _row(listing: Listing) -> list[str]:
    return [
        listing.id,
        listing.name,
        listing.developer,
        str(listing.fee),
        format_cores(listing.cpus),
        format_bytes(listing.memory),
        str(listing.gpus) if listing.gpus else "",
        str(listing.state),
        time_text(listing.changed),
    ]


def _change(change: Change) -> dict[str, Any]:
    return {
        "changed": time_text(change.changed),
        "fee": str(change.fee),
        "developer": change.developer,
        "state": str(change.state),
        "digest": change.digest,
    }


def time_text(seconds: float) -> str:
    """Write a moment in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
