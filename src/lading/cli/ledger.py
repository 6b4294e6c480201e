"""``lading ledger``: what was executed, and what is owed for it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import printing
from lading.cli.listings import MarketOption, time_text
from lading.cli.moments import moment
from lading.cli.root import LazyGroup
from lading.cli.runs import JsonOption
from lading.errors import InputError
from lading.units import format_seconds

if TYPE_CHECKING:
    from lading.market.ledger import Entry, Sum
    from lading.market.store import Market

__all__ = ["COMMANDS", "commands"]

COMMANDS = {"verify": ("ledger_verify", "Verify that nobody changed the ledger.")}
"""As :data:`lading.cli.root.COMMANDS`."""


class LedgerGroup(LazyGroup):
    """The commands of ``lading ledger``."""

    table = COMMANDS


ledger = typer.Typer(
    name="ledger",
    cls=LedgerGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COLUMNS = (
    "seq", "at", "client", "task", "image", "image_id", "developer", "fee", "owed", "success",
    "error", "repeats", "seconds", "cpus", "memory", "gpus", "sgx", "input_sha256",
    "output_sha256", "host", "id", "previous", "hash",
)  # fmt: skip


@ledger.callback()
def _ledger(
    context: typer.Context,
    *,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only since then: 30m, 2h, 3d, or 2026-01-31T12:00."),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="WHAT", help="Add up by task, client or developer.")
    ] = "",
    last: Annotated[
        int | None,
        typer.Option(
            "--last", "-n", min=1, metavar="N", help="At most so many. [default: 20 in a table]"
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV.")] = False,
    as_json: JsonOption = False,
    market: MarketOption = "",
) -> None:
    """Show what was executed, and what is owed for it.

    Every call of a task by an executor is there: of which task, for whom, at what fee, with the
    SHA-256 of input and output. A task that never got ready was not called. Owed is the fee of what
    succeeded. With --by, what it comes to.
    """
    if context.invoked_subcommand is not None:
        return
    from lading.market.store import open_market  # noqa: PLC0415

    if as_csv and as_json:
        raise InputError("--csv", "and --json: one of them")
    begin = moment(since) if since is not None else 0.0
    with open_market(market) as opened:
        if by:
            sums = opened.ledger.sums(by, since=begin)  # type: ignore[arg-type]  # it checks
            _show_sums(by, sums, as_csv=as_csv, as_json=as_json)
            return
        entries = _entries(opened, begin, last if as_csv or as_json or last else 20)
        if as_csv:
            _write_csv(_COLUMNS, (facts(one).values() for one in entries))
        elif as_json:
            printing.json([facts(one) for one in entries])
        else:
            _show(entries)


def _entries(market: Market, begin: float, last: int | None) -> Iterator[Entry]:
    after = market.ledger.before_last(last, since=begin) if last else 0
    return market.ledger.entries(since=begin, after=after)


def facts(entry: Entry) -> dict[str, Any]:
    """Write an entry for programs; money is text, so that nobody reads it as a float."""
    from lading.market.money import fee_text  # noqa: PLC0415

    values = {name: getattr(entry, name, None) for name in _COLUMNS}
    return values | {
        "at": time_text(entry.at / 1e6),
        "fee": fee_text(entry.fee),
        "owed": fee_text(entry.owed),
        "success": bool(entry.success),
        "sgx": bool(entry.sgx),
        "seconds": entry.microseconds / 1e6,
        "cpus": entry.millicpus / 1000,
    }


def _show(entries: Iterable[Entry]) -> None:
    from lading.market.money import fee_text  # noqa: PLC0415

    rows = [
        (
            str(one.seq),
            time_text(one.at / 1e6),
            one.client,
            one.task,
            one.developer,
            f"as {one.repeats}" if one.repeats else one.error or "success",
            format_seconds(one.microseconds / 1e6),
            fee_text(one.owed),
        )
        for one in entries
    ]
    heads = ["ENTRY", "ENDED", "CLIENT", "TASK", "DEVELOPER", "OUTCOME", "TOOK", "OWED"]
    printing.table(heads, rows)


def _show_sums(by: str, sums: list[Sum], *, as_csv: bool, as_json: bool) -> None:
    rows = [
        {
            by: one.name,
            "executions": one.executions,
            "successes": one.successes,
            "seconds": round(one.seconds, 3),
            "owed": f"{one.owed:f}",
        }
        for one in sums
    ]
    heads = (by, "executions", "successes", "seconds", "owed")
    if as_json:
        printing.json(rows)
    elif as_csv:
        _write_csv(heads, (row.values() for row in rows))
    else:
        cells = [[str(value) for value in row.values()] for row in rows]
        printing.table([head.upper() for head in heads], cells)


def _write_csv(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write CSV as RFC 4180 has it, a piece at a time."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    for row in rows:
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row])
        if text.tell() > 1 << 16:
            printing.result(text.getvalue().encode())
            text.seek(0)
            text.truncate()
    printing.result(text.getvalue().encode())


commands = typer.Typer(rich_markup_mode=None)
commands.add_typer(ledger, name="ledger")


@commands.callback()
def _commands() -> None:
    """Hold the one group."""
