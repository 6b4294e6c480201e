"""The same tests on both databases."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support import postgres

from lading.market.keys import HostKey, host_key
from lading.market.ledger import Execution, Ledger
from lading.market.store import Market, open_market


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL that runs for this session; skips where it isn't installed."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty market."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/market.sqlite"
        return
    running: postgres.Cluster = request.getfixturevalue("cluster")
    with running.database() as address:
        yield address


@pytest.fixture
def market(url: str) -> Iterator[Market]:
    with open_market(url) as opened:
        yield opened


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def key(state: Path) -> HostKey:
    return host_key(state)


@pytest.fixture
def ledger(market: Market, key: HostKey) -> Ledger:
    opened = Ledger(market.database, key)
    opened.introduce()
    return opened


Maker = Callable[..., Execution]


@pytest.fixture
def execution() -> Maker:
    """Makes executions; what is not said is as usual."""

    def make(**fields: Any) -> Execution:
        usual: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "at": time.time(),
            "client": "ann",
            "task": "bafytask",
            "image": "bafytask",
            "developer": "dev",
            "fee": Decimal("0.25"),
            "input_sha256": "a" * 64,
            "output_sha256": "b" * 64,
            "seconds": 0.1,
            "cpus": 1.0,
            "memory": 128 << 20,
        }
        return Execution(**usual | fields)

    return make
