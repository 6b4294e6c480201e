"""``lading receipt verify``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lading.cli import printing
from lading.cli.listings import time_text
from lading.cli.runs import JsonOption
from lading.errors import ConfigError, InputError
from lading.settings import state_directory

if TYPE_CHECKING:
    from lading.market.keys import PublicKey

commands = typer.Typer(rich_markup_mode=None)

_SECONDS = 10.0
_MOST = 1 << 20

KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="FILE|URL",
        help="Public key of a host that is trusted: a JSON Web Key (set), or the executor's "
        "address. Default: the keys of this host.",
    ),
]


@commands.command()
def verify(
    *,
    receipt: Annotated[
        str, typer.Argument(metavar="RECEIPT", help="The header's value, a file, or -.")
    ],
    key: KeyOption = None,
    task_input: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="It must be about this input.")
    ] = None,
    task_output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="It must be about this reply.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a receipt, and show what it says.

    Exit code 65 if it was forged, or is about something else.
    """
    from lading.market.receipts import verify as verify_receipt  # noqa: PLC0415

    keys = trusted_keys(key)
    if not keys:
        raise InputError(
            "--key",
            "no key is trusted: this host has none of its own",
            fix="--key http://HOST:2591, or a file with what `GET /v1/key` of that host says",
        )
    found = verify_receipt(
        receipt_of(receipt), keys, input=_read(task_input), output=_read(task_output)
    )
    known = found.entry | {"hash": found.hash, "at": time_text(found.entry["at"] / 1e6)}
    if as_json:
        printing.json(known)
    else:
        printing.note("the receipt holds")
        printing.pairs({name: _shown(value) for name, value in known.items()})


def _shown(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"can't be read: {error.strerror}") from None


def receipt_of(text: str) -> str:
    """Return a receipt: as it was given, or from the file of that name; ``-`` is stdin."""
    if text == "-":
        return sys.stdin.read(_MOST).strip()
    if text.count(".") == 2 and len(text) > 300:  # no file has such a name
        return text
    data = _read(Path(text))
    assert data is not None
    return data[:_MOST].decode("ascii", "replace").strip()


def trusted_keys(given: list[str] | None) -> list[PublicKey]:
    """Read the keys that are trusted: those that were named, or else this host's own."""
    from lading.market.keys import public_keys, read_keys  # noqa: PLC0415

    if not given:
        return public_keys(state_directory())
    keys: list[PublicKey] = []
    for one in given:
        if one.startswith(("http://", "https://")):
            keys += _fetched(one)
        else:
            keys += read_keys(Path(one))
    return keys


def _fetched(address: str) -> list[PublicKey]:
    """Ask an executor for its keys: as trustworthy as the way there."""
    import urllib.request  # noqa: PLC0415  # 60 ms

    from lading.market.keys import PublicKey  # noqa: PLC0415

    url = address if "/v1/key" in address else f"{address.rstrip('/')}/v1/keys"
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as reply:  # noqa: S310  # http(s)
            found = json.loads(reply.read(_MOST))
    except (OSError, ValueError) as error:
        raise ConfigError("--key", f"{url} gives no key: {error}") from None
    many = found.get("keys") if isinstance(found, dict) else None
    return [PublicKey.read(one) for one in (many if isinstance(many, list) else [found])]
