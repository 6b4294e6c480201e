"""Fees: decimal numbers of six places, kept as whole millionths; never floating point.

A fee has no currency here, as in contract 1: what one unit is worth is between those who trade.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from lading.errors import InputError

__all__ = ["MOST", "fee_text", "from_millionths", "parse_fee", "to_millionths"]

PLACES = 6
MOST = Decimal(1_000_000_000)
"""The highest fee: nine thousand such, in millionths, fit into what databases call an integer."""

_UNIT = 10**PLACES


def parse_fee(text: str, field: str = "fee") -> Decimal:
    """Read a fee that somebody wrote.

    Parameters
    ----------
    text : str
        Such as ``0.25``.
    field : str
        Where it stands, for the message.

    Raises
    ------
    InputError
        It is no number, negative, too high, or has more than six decimal places.
    """
    try:
        fee = Decimal(text.strip())
    except InvalidOperation:
        raise InputError(field, f"must be a number such as 0.25, not {text!r:.60}") from None
    return checked_fee(fee, field)


def checked_fee(fee: Decimal, field: str = "fee") -> Decimal:
    """Return a fee as it is kept, with six places.

    Raises
    ------
    InputError
        It is not finite, negative, too high, or has more than six decimal places.
    """
    if not isinstance(fee, Decimal):
        raise InputError(field, f"must be a Decimal, not a {type(fee).__name__}")
    if not fee.is_finite() or fee < 0:
        raise InputError(field, f"must be 0 or more, not {fee}")
    if fee > MOST:
        raise InputError(field, f"must be at most {MOST}")
    kept = fee.quantize(Decimal(1).scaleb(-PLACES))
    if kept != fee:
        raise InputError(field, f"may have {PLACES} decimal places, not more: {fee}")
    return abs(kept)  # minus zero is zero


def to_millionths(fee: Decimal) -> int:
    """Turn a fee into the whole number that is stored; exact for all that :func:`parse_fee` takes.

    Raises
    ------
    InputError
        See :func:`parse_fee`.
    """
    return int(checked_fee(fee).scaleb(PLACES))


def from_millionths(amount: int) -> Decimal:
    """Turn a stored number into a fee."""
    return Decimal(amount).scaleb(-PLACES)


def fee_text(amount: int) -> str:
    """Write millionths as receipts and tables have them: ``0.250000``; any number of digits."""
    return f"{amount // _UNIT}.{amount % _UNIT:0{PLACES}d}"
