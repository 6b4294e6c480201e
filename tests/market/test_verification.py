"""What is noticed of a ledger that somebody changed, and what can't be; on both databases."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lading.errors import InputError, RecordForged
from lading.market import receipts
from lading.market.keys import HostKey, PublicKey, host_key, public_keys
from lading.market.ledger import Entry, Execution, Ledger
from lading.market.store import Market
from lading.market.verification import Report, verify

Maker = Callable[..., Execution]


@pytest.fixture
def entries(ledger: Ledger, execution: Maker) -> list[Entry]:
    """Five entries, each signed alone, and the mark of how far they go."""
    found = [ledger.append([execution(client=f"c{number}")])[0] for number in range(4)]
    found += ledger.append([execution(client="c4", key="k", request="r")])
    ledger.mark_head()
    return found


def change(market: Market, sql: str, *values: object) -> None:
    """What whoever can write to the database may do."""
    with market.database.begin() as transaction:
        transaction.write(sql, [values])


def rechained(market: Market, since: int) -> None:
    """Make every hash from an entry on fit again, as far as that goes without the host's key."""
    previous = ""
    for entry in list(market.ledger.entries()):
        if entry.seq >= since:
            if previous:
                change(
                    market,
                    "UPDATE lading_ledger SET previous = ? WHERE seq = ?",
                    previous,
                    entry.seq,
                )
            fresh = market.ledger.get(entry.seq)
            assert fresh is not None
            digest = hashlib.sha256(fresh.body).hexdigest()
            change(market, "UPDATE lading_ledger SET hash = ? WHERE seq = ?", digest, entry.seq)
            previous = digest


def test_an_honest_ledger_holds(market: Market, entries: list[Entry], state: Path) -> None:
    report = verify(
        market.database,
        public_keys(state),
        known=[(3, entries[2].hash, "a note")],
        kept=[entries[4].receipt],
    )
    assert report.problems == report.notes == []
    assert (report.entries, report.seq, report.hash) == (5, 5, entries[4].hash)
    assert report.signed == {host_key(state).kid: 5}


@pytest.fixture
def group(ledger: Ledger, execution: Maker) -> list[Entry]:
    """Four entries of which the last three were signed together."""
    return ledger.append([execution()]) + ledger.append([execution() for _ in range(3)])


def test_entries_signed_together_hold_and_have_receipts_of_their_own(
    market: Market, group: list[Entry], state: Path
) -> None:
    keys = public_keys(state)
    told = [entry.receipt for entry in group]
    report = verify(market.database, keys, kept=told)
    assert report.problems == []
    for entry, text in zip(group, told, strict=True):
        assert receipts.verify(text, keys).entry["id"] == entry.id
        stored = market.ledger.get(entry.seq)
        assert stored is not None
        assert stored.receipt == text
        others = {one.id for one in group if one is not entry}
        assert not any(other in str(receipts.verify(text, keys)) for other in others)


def test_a_receipt_of_a_group_is_for_its_own_entry(group: list[Entry], state: Path) -> None:
    keys = public_keys(state)
    jws, _, mine = group[1].receipt.partition("~")
    _, _, others = group[0].receipt.rpartition(".")[0].partition(".")
    with pytest.raises(RecordForged, match="none of those that are signed"):
        receipts.verify(f"{jws}~{others}", keys)
    with pytest.raises(InputError):
        receipts.verify(jws, keys)
    with pytest.raises(InputError):
        receipts.verify(f"{group[0].receipt}~{mine}", keys)


@pytest.mark.parametrize("column", ["owed", "host", "hash", "signature"])
def test_a_changed_entry_of_a_group_is_found(
    market: Market, group: list[Entry], state: Path, column: str
) -> None:
    value: object = 7 if column == "owed" else "2-4.forged"
    change(market, f"UPDATE lading_ledger SET {column} = ? WHERE seq = ?", value, 3)
    assert not verify(market.database, public_keys(state)).holds


def test_a_changed_entry_of_a_group_with_fitting_hashes_is_not_signed(
    market: Market, group: list[Entry], state: Path
) -> None:
    change(market, "UPDATE lading_ledger SET owed = ? WHERE seq = ?", 9, 3)
    rechained(market, 3)
    key = host_key(state).kid
    assert verify(market.database, public_keys(state)).problems == [
        f"entries 2 to 4: their signature is not of key {key}: one was changed"
    ]


def test_an_entry_removed_from_a_group_is_found(
    market: Market, group: list[Entry], state: Path
) -> None:
    change(market, "DELETE FROM lading_ledger WHERE seq = ?", 4)
    assert verify(market.database, public_keys(state)).problems == [
        "entries 2 to 3: signed together with all of 2 to 4, some of which are missing"
    ]


def test_an_empty_ledger_holds(market: Market) -> None:
    assert verify(market.database) == Report()


TEXTS = ("id", "client", "task", "image", "image_id", "developer", "input_sha256",
         "output_sha256", "error", "host", "previous", "hash", "signature")  # fmt: skip
NUMBERS = ("at", "fee", "owed", "microseconds", "millicpus", "memory", "gpus", "sgx", "success",
           "repeats")  # fmt: skip


@pytest.mark.parametrize("column", [*TEXTS, *NUMBERS])
def test_a_changed_entry_is_found(
    market: Market, entries: list[Entry], state: Path, column: str
) -> None:
    value = "forged" if column in TEXTS else 7
    change(market, f"UPDATE lading_ledger SET {column} = ? WHERE seq = ?", value, 3)
    report = verify(market.database, public_keys(state))
    assert any(text.startswith(("entry 3", "entry 4 does not follow")) for text in report.problems)


def test_a_changed_entry_with_a_fitting_hash_is_not_signed(
    market: Market, entries: list[Entry], state: Path
) -> None:
    change(market, "UPDATE lading_ledger SET owed = ? WHERE seq = ?", 9_000_000, 3)
    rechained(market, 3)
    report = verify(market.database, public_keys(state))
    mark = f"entry 5 is another than the signed mark of host {host_key(state).kid} has"
    found = [text.partition(":")[0] for text in report.problems]
    assert found == ["entry 3", "entry 4", "entry 5", mark]
    assert "it was changed" in report.problems[0]


def test_whoever_signs_with_another_key_is_not_trusted(
    market: Market, entries: list[Entry], state: Path, tmp_path: Path
) -> None:
    forger = host_key(tmp_path / "forger")
    change(market, "UPDATE lading_ledger SET owed = 9, host = ? WHERE seq = ?", forger.kid, 5)
    rechained(market, 5)
    changed = market.ledger.get(5)
    assert changed is not None
    signature, _ = receipts.sign(forger, changed.body)
    change(market, "UPDATE lading_ledger SET signature = ? WHERE seq = ?", signature, 5)
    report = verify(market.database, public_keys(state))
    assert f"entry 5: it is signed by key {forger.kid}, which nobody knows" in report.problems
    # Nor does it help to put that key among the others, besides the mark that it can't sign.
    import json  # noqa: PLC0415

    jwk = json.dumps(forger.public.jwk())
    change(market, "INSERT INTO lading_host_key VALUES (?, ?)", forger.kid, jwk)
    report = verify(market.database, public_keys(state))
    assert not report.holds
    assert any(f"key {forger.kid} is known from this database only" in one for one in report.notes)


def test_a_removed_entry_is_found(market: Market, entries: list[Entry], state: Path) -> None:
    change(market, "DELETE FROM lading_ledger WHERE seq IN (?, ?)", 2, 3)
    assert verify(market.database, public_keys(state)).problems == ["entry 2 to 3 is missing"]


def test_a_removed_beginning_is_found(market: Market, entries: list[Entry], state: Path) -> None:
    change(market, "DELETE FROM lading_ledger WHERE seq = ?", 1)
    assert verify(market.database, public_keys(state)).problems == ["entry 1 is missing"]


def test_numbers_that_close_the_gap_do_not_help(
    market: Market, entries: list[Entry], state: Path
) -> None:
    change(market, "DELETE FROM lading_ledger WHERE seq = ?", 3)
    for seq in (4, 5):
        change(market, "UPDATE lading_ledger SET seq = ? WHERE seq = ?", seq - 1, seq)
    report = verify(market.database, public_keys(state))
    assert "entry 3 does not follow the one before it: one was changed" in report.problems


def test_a_ledger_cut_off_is_noticed_by_the_signed_mark(
    market: Market, entries: list[Entry], state: Path
) -> None:
    change(market, "DELETE FROM lading_ledger WHERE seq > ?", 3)
    problems = verify(market.database, public_keys(state)).problems
    assert problems == [
        f"entry 5 is missing: the signed mark of host {host_key(state).kid} has it",
        "entry 5 is missing: an idempotency key of 'c4' was billed under it",
    ]


def test_a_mark_set_back_is_not_signed(market: Market, entries: list[Entry], state: Path) -> None:
    change(market, "DELETE FROM lading_ledger WHERE seq > ?", 3)
    change(market, "DELETE FROM lading_key_used WHERE seq > ?", 3)
    sql = "UPDATE lading_ledger_head SET seq = ?, hash = ?"
    change(market, sql, 3, entries[2].hash)
    (problem,) = verify(market.database, public_keys(state)).problems
    assert "how far the ledger goes, is not signed by it" in problem


def test_a_ledger_cut_off_with_all_its_marks_is_noticed_from_outside_only(
    market: Market, entries: list[Entry], state: Path
) -> None:
    """As if an older copy of the whole database had been put back: it is as it once was."""
    change(market, "DELETE FROM lading_ledger WHERE seq > ?", 3)
    change(market, "DELETE FROM lading_key_used WHERE seq > ?", 3)
    change(market, "DELETE FROM lading_ledger_head WHERE seq > ?", 0)
    keys = public_keys(state)
    assert verify(market.database, keys).holds, "nothing in it tells: this is said in the docs"
    receipt = verify(market.database, keys, kept=[entries[4].receipt])
    assert receipt.problems == ["entry 5 is missing: receipt 1 has it"]
    noted = verify(market.database, keys, known=[(4, entries[3].hash, "the note")])
    assert noted.problems == ["entry 4 is missing: the note has it"]


def test_an_end_written_anew_is_noticed_by_receipts(
    market: Market,
    ledger: Ledger,
    entries: list[Entry],
    state: Path,
    key: HostKey,
    execution: Maker,
) -> None:
    """The host itself takes entries back and writes others: only who has receipts can tell."""
    change(market, "DELETE FROM lading_ledger WHERE seq > ?", 3)
    change(market, "DELETE FROM lading_key_used WHERE seq > ?", 3)
    other = Ledger(market.database, key)
    other.append([execution(), execution()])
    other.mark_head()
    assert verify(market.database, public_keys(state)).holds
    report = verify(market.database, public_keys(state), kept=[entries[4].receipt])
    assert report.problems == ["entry 5 is another than receipt 1 has"]


def test_a_forged_receipt_is_told_apart_from_a_missing_entry(
    market: Market, entries: list[Entry], state: Path
) -> None:
    head, body, signature = entries[4].receipt.split(".")
    forged = f"{head}.{body[:-1]}{'A' if body[-1] != 'A' else 'Q'}.{signature}"
    (problem,) = verify(market.database, public_keys(state), kept=[forged]).problems
    assert problem.startswith("receipt 1: ")


def test_who_is_not_known_from_elsewhere_is_named(market: Market, entries: list[Entry]) -> None:
    report = verify(market.database)
    assert report.holds
    assert "known from this database only" in report.notes[0]


def test_a_key_that_had_ended_signs_nothing(
    market: Market, entries: list[Entry], state: Path
) -> None:
    key = host_key(state).public
    ended = PublicKey(key.x, until=time.time() - 86_400)
    report = verify(market.database, [ended])
    assert len(report.problems) == 5
    assert "signed only until" in report.problems[0]


def test_many_problems_are_counted(
    market: Market, ledger: Ledger, execution: Maker, state: Path
) -> None:
    ledger.append([execution() for _ in range(60)])
    change(market, "UPDATE lading_ledger SET owed = owed + ?", 1)
    report = verify(market.database, public_keys(state))
    assert (len(report.problems), report.more) == (20, 40)
