"""How a keeper tells its caller what went wrong."""

from __future__ import annotations

from lading.contracts.processing.detached import _as_error, _as_told
from lading.errors import ExitedEarly, InputError, LadingError


def test_errors_are_raised_as_they_were() -> None:
    for error in (
        ExitedEarly("x ended", code=7, logs="last", fix="see"),
        LadingError("plain"),
        InputError("a.b", "is wrong"),
    ):
        again = _as_error(_as_told(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert str(_as_error(_as_told(ZeroDivisionError("no")))) == "unexpected ZeroDivisionError: no"
