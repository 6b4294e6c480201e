"""``lading ledger verify``."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from lading.cli import printing
from lading.cli.listings import MarketOption
from lading.cli.receipt_verify import KeyOption, receipt_of, trusted_keys
from lading.cli.runs import JsonOption
from lading.errors import InputError, RecordForged
from lading.settings import state_directory

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def verify(
    *,
    key: KeyOption = None,
    receipt: Annotated[
        list[str] | None,
        typer.Option(
            "--receipt", metavar="RECEIPT", help="Its entry must be there: a text or file."
        ),
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(
            "--known", metavar="ENTRY:HASH", help="An entry that must be there, as shown before."
        ),
    ] = None,
    market: MarketOption = "",
    as_json: JsonOption = False,
) -> None:
    """Verify that nobody changed the ledger.

    Every entry must be what its hash says, follow the one before it, and be signed by its host. A
    ledger that was cut off at its end is noticed by what each host signed last, by what this
    host noted in its state directory, and by --receipt and --known: keep what is shown here
    elsewhere. Exit code 65 if it does not hold.
    """
    from lading.market.appending import read_anchors  # noqa: PLC0415
    from lading.market.store import open_market  # noqa: PLC0415
    from lading.market.verification import verify as verify_ledger  # noqa: PLC0415

    noted = read_anchors(state_directory())
    with open_market(market) as opened:
        anchors = [_known(text) for text in known or ()]
        if (mine := noted.get(opened.shown)) is not None and mine[0]:
            anchors.append((*mine, "the state directory of this host"))
        report = verify_ledger(
            opened.database,
            trusted_keys(key),
            known=anchors,
            kept=[receipt_of(one) for one in receipt or ()],
        )
        shown = opened.shown
    if as_json:
        printing.json(dataclasses.asdict(report) | {"holds": report.holds})
        if not report.holds:
            raise typer.Exit(RecordForged.exit_code)
        return
    for note in report.notes:
        printing.warn(note)
    if not report.holds:
        more = f"\n... and {report.more} more" if report.more else ""
        raise RecordForged(
            f"the ledger at {shown} does not hold:\n" + "\n".join(report.problems) + more,
            fix="find out who could write to it; hosts and clients have the receipts",
        )
    printing.line(f"{report.entries} entries hold")
    for kid, count in sorted(report.signed.items()):
        printing.line(f"signed by {kid}: {count}")
    if report.seq:
        printing.line(f"last entry: {report.seq}:{report.hash}")


def _known(text: str) -> tuple[int, str, str]:
    seq, colon, digest = text.strip().partition(":")
    if not colon or not seq.isdecimal() or len(digest) != 64:
        raise InputError("--known", f"{text!r:.100} is not ENTRY:HASH", fix="as `verify` shows it")
    return int(seq), digest.lower(), f"--known {seq}"
