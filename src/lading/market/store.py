"""Where the market is: one database for catalogue, ledger and keys, opened by its address."""

from __future__ import annotations

from typing import Self

from lading.market.catalogue import Catalogue
from lading.market.database import Database, open_database
from lading.market.ledger import Ledger
from lading.settings import environment, state_directory

__all__ = ["Market", "market_url", "open_market"]


class Market:
    """A catalogue and a ledger, in one database; to be closed, or used as a context manager.

    Every method blocks; a coroutine calls it in a thread.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.catalogue = Catalogue(database)
        self.ledger = Ledger(database)

    @property
    def shown(self) -> str:
        """Its address, without a password."""
        return self.database.shown

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def market_url(given: str = "") -> str:
    """Choose the market's address: what was given, ``LADING_MARKET``, or the state directory's."""
    return given or environment().get("LADING_MARKET") or str(state_directory() / "market.sqlite")


def open_market(url: str = "") -> Market:
    """Open a market, and make it where there is none; blocks.

    Parameters
    ----------
    url : str
        A path of an SQLite file, ``sqlite:////PATH``, or ``postgresql://USER@HOST/NAME``; empty:
        see :func:`market_url`.

    Raises
    ------
    ConfigError
        It is no such address, or the library for PostgreSQL is missing.
    MarketUnavailable
        It can't be reached, or not now.
    RecordError
        It is none of ours, or of a newer Lading.
    """
    return Market(open_database(market_url(url)))
