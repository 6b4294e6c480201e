"""A directory that is meant to become an input channel, as somebody has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lading.contracts.processing.trees import Amount, amount, subdirectories
from lading.errors import InputError

__all__ = ["Example"]

_LOOKED_AT = 100
"""Items to look into."""


@dataclass(frozen=True, slots=True)
class Example:
    """What lies in a directory.

    Parameters
    ----------
    path : Path
        Absolute.
    items, loose : int
        Directories and files directly in it; hidden ones are neither.
    inner : str
        The one directory that every item holds and nothing else, as the old layout has it; empty
        where that is not so.
    amount : Amount
        Of all files.
    """

    path: Path
    items: int
    loose: int
    inner: str
    amount: Amount

    @classmethod
    def of(cls, path: Path, field: str) -> Example:
        """Look at a directory; walks over all of it.

        Parameters
        ----------
        path : Path
        field : str
            What the caller calls it, for the error.

        Raises
        ------
        InputError
            It is no directory, or can't be read.
        """
        path = path.expanduser().absolute()
        if not path.is_dir():
            what = "is not a directory" if path.exists() else "does not exist"
            raise InputError(field, f"{path} {what}", fix="name the directory that holds the items")
        items = [item for item in subdirectories(path) if not item.name.startswith(".")]
        try:
            loose = sum(
                entry.is_file() and not entry.name.startswith(".") for entry in path.iterdir()
            )
        except OSError as error:
            raise InputError(field, f"{path} can't be read: {error.strerror}") from None
        return cls(path, len(items), loose, _inner(items[:_LOOKED_AT]), amount(path))


def _inner(items: list[Path]) -> str:
    names: set[str] = set()
    for item in items:
        try:
            entries = list(item.iterdir())
        except OSError:
            return ""
        if len(entries) != 1 or not entries[0].is_dir():
            return ""
        names.add(entries[0].name)
    return names.pop() if len(names) == 1 else ""
