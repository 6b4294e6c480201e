"""`lading tasks`, `lading ledger` and `lading receipt`, as people type them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from lading.market.catalogue import Listing
from lading.market.entries import Entry, Execution
from lading.market.keys import public_keys
from lading.market.ledger import Ledger
from lading.market.store import Market

Lading = Callable[..., subprocess.CompletedProcess[str]]
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


@pytest.fixture
def lading(url: str, state: Path) -> Lading:
    env = {**os.environ, "LADING_MARKET": url, "LADING_STATE": str(state), "COLUMNS": "200"}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lading", *words],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return call


@pytest.fixture
def entries(market: Market, ledger: Ledger, execution: Callable[..., Execution]) -> list[Entry]:
    market.catalogue.publish(
        Listing(cid=CID, name="knn", developer="dev", fee=Decimal("0.25"), description="a\nb")
    )
    found = ledger.append([execution(task=CID, at=1_000_000_000.0, client="=ann")])
    found += ledger.append([execution(task=CID, error="TimedOut"), execution(client="bob, jr")])
    ledger.mark_head()
    return found


def test_tasks(lading: Lading, entries: list[Entry]) -> None:
    listed = lading("tasks", "list")
    assert listed.stdout.splitlines()[1].split()[:4] == [CID, "knn", "dev", "0.250000"]
    done = lading("tasks", "fee", "knn", "0.3")
    assert (done.returncode, done.stderr) == (0, f"the fee of {CID} is 0.300000 now\n")
    shown = json.loads(lading("tasks", "show", CID[-10:], "--json").stdout)
    assert shown["fee"] == "0.300000"
    assert [one["fee"] for one in shown["history"]] == ["0.250000", "0.300000"]
    assert "0.300000" in lading("tasks", "show", "bafybei").stdout
    assert lading("tasks", "retire", "knn").returncode == 0
    assert json.loads(lading("tasks", "list", "--json").stdout) == []
    assert "retired" in lading("tasks", "list", "--all").stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("tasks", "fee", "knn", "0,3"), 2, "must be a number such as 0.25"),
        (("tasks", "fee", "nothing", "1"), 66, "no task 'nothing' is listed here"),
        (("tasks", "fee", "knn", "-1"), 2, ""),
        (("ledger", "--by", "shoe"), 2, "must be task, client or developer"),
        (("ledger", "--since", "soon"), 2, "is no time"),
        (("ledger", "--csv", "--json"), 2, "one of them"),
        (("ledger", "verify", "--known", "7"), 2, "is not ENTRY:HASH"),
        (("receipt", "verify", "nonsense"), 2, "can't be read"),
        (("tasks", "list", "--market", "mysql://x"), 2, "is no address of a database"),
        (("tasks", "list", "--market", "/"), 75, "can't be used"),
    ],
)
def test_what_is_wrong_is_said(
    lading: Lading, entries: list[Entry], words: tuple[str, ...], code: int, text: str
) -> None:
    done = lading(*words)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr


def test_the_ledger(lading: Lading, entries: list[Entry]) -> None:
    rows = lading("ledger").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["ENTRY", "1", "2", "3"]
    assert rows[2].split()[-1] == "0.000000"
    assert [row.split()[0] for row in lading("ledger", "-n", "1").stdout.splitlines()[1:]] == ["3"]
    recent = json.loads(lading("ledger", "--since", "1h", "--json").stdout)
    assert [one["seq"] for one in recent] == [2, 3]
    assert [one["owed"] for one in recent] == ["0.000000", "0.250000"]
    table = list(csv.DictReader(io.StringIO(lading("ledger", "--csv").stdout)))
    assert [(one["client"], one["success"], one["owed"]) for one in table] == [
        ("=ann", "true", "0.250000"),
        ("ann", "false", "0.000000"),
        ("bob, jr", "true", "0.250000"),
    ]
    sums = json.loads(lading("ledger", "--by", "developer", "--json").stdout)
    assert sums == [
        {"developer": "dev", "executions": 3, "successes": 2, "seconds": 0.3, "owed": "0.500000"}
    ]
    assert lading("ledger", "--by", "task", "--csv").stdout.splitlines()[0] == (
        "task,executions,successes,seconds,owed"
    )


def test_a_ledger_that_holds_and_one_that_does_not(
    lading: Lading, entries: list[Entry], market: Market, state: Path
) -> None:
    good = lading("ledger", "verify")
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines() == [
        "3 entries hold",
        f"signed by {public_keys(state)[0].kid}: 3",
        f"last entry: 3:{entries[2].hash}",
    ]
    known = lading("ledger", "verify", "--known", f"3:{entries[2].hash}", "--json")
    assert json.loads(known.stdout)["holds"] is True
    gone = lading("ledger", "verify", "--known", f"4:{'0' * 64}")
    assert (gone.returncode, "entry 4 is missing: --known 4 has it" in gone.stderr) == (65, True)
    with market.database.begin() as transaction:
        transaction.write("UPDATE lading_ledger SET fee = ? WHERE seq = 1", [(7,)])
    bad = lading("ledger", "verify")
    assert bad.returncode == 65
    assert "entry 1 was changed" in bad.stderr
    told = lading("ledger", "verify", "--json")
    assert (told.returncode, json.loads(told.stdout)["holds"]) == (65, False)


def test_receipts(lading: Lading, entries: list[Entry], state: Path, tmp_path: Path) -> None:
    file = tmp_path / "receipt"
    for entry in (entries[0], entries[2]):  # one that was signed alone, one with others
        file.write_text(entry.receipt + "\n")
        assert lading("receipt", "verify", entry.receipt).returncode == 0
        shown = json.loads(lading("receipt", "verify", str(file), "--json").stdout)
        assert (shown["seq"], shown["hash"]) == (entry.seq, entry.hash)
    (tmp_path / "input").write_bytes(b"other")
    other = lading("receipt", "verify", str(file), "--input", str(tmp_path / "input"))
    assert (other.returncode, "is about another input" in other.stderr) == (65, True)
    key = tmp_path / "key.json"
    key.write_text(json.dumps(public_keys(state)[0].jwk()))
    assert lading("receipt", "verify", str(file), "--key", str(key)).returncode == 0
    kept = lading("ledger", "verify", "--receipt", str(file), "--key", str(key))
    assert kept.returncode == 0, kept.stderr
