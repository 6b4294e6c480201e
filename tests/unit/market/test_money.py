"""Fees: read strictly, kept exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import InputError
from lading.market.money import fee_text, from_millionths, parse_fee, to_millionths


@pytest.mark.parametrize(
    ("text", "fee"),
    [
        ("0", "0.000000"),
        ("-0", "0.000000"),
        ("0.25", "0.250000"),
        (" 1 ", "1.000000"),
        ("0.000001", "0.000001"),
        ("1e-6", "0.000001"),
        ("1000000000", "1000000000.000000"),
        ("0.1000000000", "0.100000"),
    ],
)
def test_what_is_a_fee(text: str, fee: str) -> None:
    assert str(parse_fee(text)) == fee
    assert fee_text(to_millionths(parse_fee(text))) == fee


@pytest.mark.parametrize(
    "text", ["", "x", "1,5", "-1", "0.0000001", "1e10", "nan", "inf", "0x1", "1_0.0.0", "9" * 100]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_fee(text, "--fee")
    assert caught.value.field == "--fee"


@pytest.mark.parametrize("value", [0.1, 1, "0.1"])
def test_only_decimals_are_fees(value: object) -> None:
    with pytest.raises(InputError, match="must be a Decimal"):
        to_millionths(value)  # type: ignore[arg-type]


@given(st.integers(0, 10**15))
def test_millionths_and_fees_are_the_same(amount: int) -> None:
    fee = from_millionths(amount)
    assert to_millionths(fee) == amount
    assert Decimal(fee_text(amount)) == fee


@given(st.lists(st.integers(0, 10**15), max_size=30))
def test_a_sum_is_exact_however_it_is_added(amounts: list[int]) -> None:
    units = sum(amount // 10**6 for amount in amounts)
    rest = sum(amount % 10**6 for amount in amounts)
    assert fee_text(units * 10**6 + rest) == fee_text(sum(amounts))
