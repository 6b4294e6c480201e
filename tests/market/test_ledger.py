"""What is appended: a chain, exact sums, keys that are billed once; on both databases."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from lading.errors import InputError, RecordForged
from lading.market.entries import NOTHING, Execution, KeptReply
from lading.market.keys import HostKey, public_keys
from lading.market.ledger import Ledger
from lading.market.store import Market, open_market
from lading.market.verification import verify

Maker = Callable[..., Execution]


def test_entries_are_a_chain(ledger: Ledger, execution: Maker) -> None:
    one = ledger.append([execution()])[0]
    two, three = ledger.append([execution(), execution(error="TimedOut")])
    four = ledger.append([execution()])[0]
    assert [one.seq, two.seq, three.seq, four.seq] == [1, 2, 3, 4]
    assert one.previous == NOTHING
    assert [two.previous, three.previous, four.previous] == [one.hash, two.hash, three.hash]
    assert list(ledger.entries()) == [one, two, three, four]
    assert one.hash == hashlib.sha256(one.body).hexdigest()


def test_what_is_hashed_is_canonical_json(ledger: Ledger, execution: Maker) -> None:
    """RFC 8785: sorted, without spaces, nothing escaped that need not be."""
    entry = ledger.append([execution(client='a"\\\n\x7fé🐳\u2028')])[0]
    said = json.loads(entry.body)
    assert said["client"] == 'a"\\\n\x7fé🐳\u2028'
    assert said["fee"] == "0.250000"
    again = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert again.encode() == entry.body
    assert next(ledger.entries()).body == entry.body


def test_only_what_succeeded_is_owed(ledger: Ledger, execution: Maker) -> None:
    good, bad = ledger.append([execution(), execution(error="TaskFailed", output_sha256="")])
    assert (good.fee, good.owed, good.success) == (250_000, 250_000, 1)
    assert (bad.fee, bad.owed, bad.success) == (250_000, 0, 0)


def test_sums_are_exact(ledger: Ledger, execution: Maker) -> None:
    """A tenth ten times is one; ten thousand billions are more than an integer column has."""
    ledger.append([execution(fee=Decimal("0.1"), client="bob") for _ in range(10)])
    ledger.append([execution(fee=Decimal("0.000001"), developer="else") for _ in range(3)])
    most = Decimal(1_000_000_000)
    for _ in range(10):
        ledger.append([execution(fee=most, client="rich", task="gold") for _ in range(1000)])
    by_client = {one.name: one.owed for one in ledger.sums("client")}
    assert by_client == {
        "bob": Decimal(1),
        "ann": Decimal("0.000003"),
        "rich": Decimal(10_000) * most,  # in millionths it is more than 2**63
    }
    developers = {one.name: (one.executions, one.owed) for one in ledger.sums("developer")}
    assert developers["else"] == (3, Decimal("0.000003"))
    assert [one.name for one in ledger.sums("task")] == ["gold", "bafytask"]
    with pytest.raises(InputError):
        ledger.sums("seq; DROP TABLE lading_ledger")  # type: ignore[arg-type]


def test_a_time_chooses_what_is_added_up(ledger: Ledger, execution: Maker) -> None:
    ledger.append([execution(at=1000.0), execution(at=2000.0, error="TimedOut"), execution(at=3e3)])
    assert [one.seq for one in ledger.entries(since=2000.0)] == [2, 3]
    (found,) = ledger.sums("task", since=2000.0)
    assert (found.executions, found.successes, found.owed) == (2, 1, Decimal("0.25"))
    assert [one.seq for one in ledger.entries(where={"client": "bob"})] == []
    assert ledger.before_last(2) == 1
    assert ledger.before_last(2, since=2500.0) == 0


def test_more_than_a_page_is_read_in_order(ledger: Ledger, execution: Maker) -> None:
    for _ in range(5):
        ledger.append([execution() for _ in range(500)])
    assert [one.seq for one in ledger.entries()] == list(range(1, 2501))


def test_appended_again_after_a_commit_nobody_heard_of_it_is_there_once(
    url: str, key: HostKey, execution: Maker
) -> None:
    """As when the connection breaks after COMMIT was sent."""
    some = [execution(), execution(key="k", request="r")]
    with open_market(url) as market, open_market(url) as lost:
        ledger = Ledger(market.database, key)
        ledger.introduce()
        written = Ledger(lost.database, key).append(some)  # of which `ledger` knows nothing
        assert ledger.append([*some, execution()])[:2] == written
        assert len(list(ledger.entries())) == 3


def test_a_key_is_billed_once(ledger: Ledger, execution: Maker) -> None:
    reply = KeptReply("text/plain", b"\x00reply")
    first = ledger.append([execution(key="k", request="r", reply=reply)])[0]
    again = ledger.append([execution(key="k", request="r", reply=reply)])[0]
    twice = ledger.append([execution(key="m", request="r"), execution(key="m", request="r")])
    assert (again.owed, again.repeats) == (0, first.seq)
    assert [one.repeats for one in twice] == [0, twice[0].seq]
    assert sum(one.owed for one in ledger.entries()) == 500_000
    assert ledger.billed("ann", "k") == ("r", first, reply)
    assert ledger.billed("ann", "m") == ("r", twice[0], None)
    assert ledger.billed("ann", "other") is None


def test_a_key_is_its_clients_own(ledger: Ledger, execution: Maker) -> None:
    ledger.append([execution(key="k", request="r", reply=KeptReply("a", b"ann's"))])
    bobs = ledger.append([execution(key="k", request="r", client="bob")])[0]
    assert bobs.owed == 250_000
    assert ledger.billed("carl", "k") is None


def test_what_failed_uses_up_no_key(ledger: Ledger, execution: Maker) -> None:
    ledger.append([execution(key="k", request="r", error="TimedOut")])
    assert ledger.billed("ann", "k") is None
    assert ledger.append([execution(key="k", request="r")])[0].owed == 250_000


def test_kept_replies_are_forgotten_by_age_and_size(ledger: Ledger, execution: Maker) -> None:
    def keep(key: str, at: float, size: int) -> None:
        reply = KeptReply("text/plain", b"x" * size)
        ledger.append([execution(key=key, request="r", at=at, reply=reply)])

    def kept() -> list[str]:
        found = {key: ledger.billed("ann", key) for key in ("old", "a", "b", "c")}
        assert all(found.values())  # the key stays used up
        return [key for key, one in found.items() if one and one[2]]

    now = time.time()
    for key, at in (("old", now - 100), ("a", now), ("b", now), ("c", now)):
        keep(key, at, 1000)
    ledger.forget_replies(before=now - 50, most=10_000)
    assert kept() == ["a", "b", "c"]
    ledger.forget_replies(before=now - 50, most=2000)
    assert kept() == ["b", "c"]


def test_a_clock_set_back_is_noted_and_breaks_nothing(
    market: Market, ledger: Ledger, execution: Maker, state: Path
) -> None:
    now = time.time()
    ledger.append([execution(at=now), execution(at=now - 86_400), execution(at=now + 1)])
    report = verify(market.database, public_keys(state))
    assert report.holds
    assert report.notes == [
        "1 entries ended before the one that they follow: hosts' clocks differ, or one was set back"
    ]


def test_what_no_database_stores_is_replaced(ledger: Ledger, execution: Maker) -> None:
    entry = ledger.append([execution(client="a\0b", image="i" * 1000, task="\ud800")])[0]
    assert (entry.client, len(entry.image), entry.task) == ("a\ufffdb", 500, "?")
    assert next(ledger.entries()) == entry


def test_without_a_key_nothing_is_appended(market: Market, execution: Maker) -> None:
    with pytest.raises(InputError):
        market.ledger.append([execution()])


def test_a_ledger_cut_off_while_it_is_served_takes_no_more(
    url: str, ledger: Ledger, execution: Maker
) -> None:
    ledger.append([execution(), execution()])
    with open_market(url) as thief, thief.database.begin() as transaction:
        transaction.write("DELETE FROM lading_ledger WHERE seq = ?", [(2,)])
    with pytest.raises(RecordForged, match="its end was removed"):
        ledger.append([execution(), execution()])
    with open_market(url) as thief, thief.database.begin() as transaction:
        transaction.write("UPDATE lading_ledger SET seq = 2 WHERE seq = ?", [(1,)])
    with pytest.raises(RecordForged, match=r"entry 2 .* is not what we saw"):
        ledger.append([execution(), execution()])


PROGRAM = """
import sys, time
from decimal import Decimal
from pathlib import Path
from lading.market.keys import host_key
from lading.market.ledger import Execution, Ledger
from lading.market.store import open_market

url, state = sys.argv[1], Path(sys.argv[2])
with open_market(url) as market:
    ledger = Ledger(market.database, host_key(state))
    ledger.introduce()
    for number in range(60):
        if number % 20 == 0:  # none gets to its end before the others have begun
            print("ready", flush=True)
            sys.stdin.readline()
        ledger.append(
            [
                Execution(
                    id=f"{state.name}-{number}-{part}",
                    at=time.time(),
                    client=state.name,
                    task="t",
                    image="t",
                    fee=Decimal("0.1"),
                    key=str(number) if part else "",
                    request="r",
                )
                for part in range(1 + number % 3)
            ]
        )
"""


@pytest.mark.timeout(120)
def test_processes_that_append_at_once_make_one_chain(url: str, tmp_path: Path) -> None:
    states = [tmp_path / f"host{number}" for number in range(3)]
    with contextlib.ExitStack() as stack:
        programs = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, url, state],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for state in states
        ]
        for _ in range(3):
            for program in programs:  # they make the tables at once as well
                assert program.stdout is not None
                assert program.stdout.readline() == "ready\n"
            for program in programs:
                assert program.stdin is not None
                program.stdin.write("go\n")
                program.stdin.flush()
        for program in programs:
            program.communicate(timeout=100)
            assert program.returncode == 0
    with open_market(url) as market:
        keys = [key for state in states for key in public_keys(state)]
        report = verify(market.database, keys)
        assert report.problems == []
        assert report.entries == 3 * 120
        assert sorted(report.signed.values()) == [120, 120, 120]
        # Without a key 60; under 40 keys one each, and of these 20 came a second time.
        assert {one.owed for one in market.ledger.sums("client")} == {Decimal(10)}
        hosts = [one.host for one in market.ledger.entries()]
        changes = sum(one != other for one, other in itertools.pairwise(hosts))
        assert changes > 3, "they took turns, so none of this was at once"


def test_the_address_is_shown_without_its_password(tmp_path: Path) -> None:
    from lading.market.database import _without_password  # noqa: PLC0415

    url = "postgresql://ann:secret@db:5432/market?password=hidden&host=/run"
    assert _without_password(url) == "postgresql://ann@db:5432/market?host=/run"
