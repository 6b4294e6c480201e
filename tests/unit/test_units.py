"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading import units
from lading.errors import InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0), ("0", 0), (128, 128), ("512Mi", 512 << 20), ("1.5Gi", 3 << 29), ("512m", 512 << 20),
        ("2g", 2 << 30), ("128MB", 128 * 10**6), ("128 MiB", 128 << 20), ("1k", 1024), ("1K", 1000),
        ("1e3", 1000), ("0.5", 1), ("10kb", 10240),
    ],
)  # fmt: skip
def test_sizes(text: str | float, size: int) -> None:
    assert units.size(text) == size


@pytest.mark.parametrize(("text", "cores"), [("500m", 0.5), ("1.5", 1.5), (2, 2.0), ("1e1", 10.0)])
def test_cores(text: str | float, cores: float) -> None:
    assert units.cores(text) == cores


@pytest.mark.parametrize(
    "text", ["", "much", "-1", "1 Xi", "nan", "inf", "1e999", "1e300", True, "1,5Gi"]
)
def test_no_quantities(text: str) -> None:
    for read in (units.size, units.cores):
        with pytest.raises(InputError, match=r"^limit: "):
            read(text, "limit")


def test_more_than_any_machine_has() -> None:
    for text in ("1e308Gi", "5e9Gi"):
        with pytest.raises(InputError, match="any machine"):
            units.size(text)


def test_unknown_units_name_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown unit 'Qi'.*Mi"):
        units.size("1Qi")
    with pytest.raises(InputError, match="500m"):
        units.cores("1Gi")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (128 << 20, "128 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 40, "1 TiB"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert units.format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.012, "12 ms"), (3.42, "3.4 s"), (125, "2 min 5 s"), (7300, "2 h 1 min")],
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(2.0, "2"), (0.5, "0.5"), (0.125, "0.125"), (10, "10")]
)
def test_cores_for_people(count: float, text: str) -> None:
    assert units.format_cores(count) == text


@given(st.integers(0, 1 << 60))
def test_plain_bytes_are_themselves(count: int) -> None:
    assert units.size(count) in (count, pytest.approx(count))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", 0.5),
        ("100u", 1e-4),
        ("1Ki", 1024),
        ("1k", 1000),
        ("1.5Gi", 3 << 29),
        ("1e3", 1000),
        ("1E3", 1000),
        ("2E", 2 * 10**18),
        (" 5 Mi ", 5 << 20),
        ("+3", 3),
        (".5", None),
        ("1gi", None),
        ("1B", None),
        ("1KB", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (True, None),
        ("1e400", None),
        ("9E", None),
    ],
)
def test_quantities_of_kubernetes(text: str, amount: float | None) -> None:
    if amount is None:
        with pytest.raises(InputError):
            units.quantity(text, "x")
    else:
        assert units.quantity(text) == pytest.approx(amount)


@given(st.integers(1, 1 << 50))
def test_what_is_written_as_a_quantity_is_read_back_rounded_up_to_a_mebibyte(count: int) -> None:
    read = units.quantity(units.format_quantity(count))
    assert count <= read < count + units.MIB
    assert units.format_quantity(int(read)) == units.format_quantity(count)


@given(st.floats(0, 1e6), st.sampled_from(["", "m", "k", "Ki", "Mi", "G"]))
def test_numbers_are_read_as_they_are_written(number: float, suffix: str) -> None:
    factor = {"": 1, "m": 1e-3, "k": 1e3, "Ki": 1 << 10, "Mi": 1 << 20, "G": 1e9}[suffix]
    assert units.quantity(f"{number!r}{suffix}") == pytest.approx(number * factor)
    assert units.quantity(number) == number
