"""What is offered: published, found, changed, retired; on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal

import pytest

from lading.errors import InputError, RecordNotFound
from lading.market.catalogue import Listing, State
from lading.market.store import Market, open_market

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
OTHER = "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
DIGEST = "sha256:" + "1" * 64
KNN = Listing(
    cid=CID,
    name="knn",
    description="The nearest\nneighbours.",
    profile='{"chunker": "size-262144"}',
    cpus=0.5,
    memory=256 << 20,
    gpus=1,
    sgx=True,
    developer="Ann Lee",
    fee=Decimal("0.25"),
)


def test_what_is_published_is_what_is_found(market: Market) -> None:
    published = market.catalogue.publish(KNN)
    assert market.catalogue.find(CID) == published
    same = replace(published, id="", published=0.0, changed=0.0, fee=Decimal("0.25"))
    assert same == KNN
    assert published.id == CID
    assert market.catalogue.list() == [published]


@pytest.mark.parametrize(
    "name",
    [CID, f"ipfs://{CID}", f"/ipfs/{CID}", CID[-10:], f"{CID[-10:]}:latest", "knn", CID[:20]],
)
def test_a_cid_is_found_by_all_its_names(market: Market, name: str) -> None:
    market.catalogue.publish(Listing(cid=OTHER, name="other"))
    market.catalogue.publish(KNN)
    assert market.catalogue.find(name).id == CID


@pytest.mark.parametrize(
    "name",
    [
        "reg.example:5000/team/knn",
        "reg.example:5000/team/knn:latest",
        "registry://reg.example:5000/team/knn:latest",
        f"reg.example:5000/team/knn@{DIGEST}",
        DIGEST,
        "reg.exam",
    ],
)
def test_an_image_is_found_by_all_its_names(market: Market, name: str) -> None:
    image = "reg.example:5000/team/knn:latest"
    market.catalogue.publish(Listing(image=image, digest=DIGEST))
    assert market.catalogue.find(name).id == image


def test_an_executor_asks_no_money_for_who_shares_a_name_for_people(market: Market) -> None:
    market.catalogue.publish(replace(KNN, name="python"))
    assert market.catalogue.find("python").id == CID
    assert market.catalogue.names().get("python") is None


def test_published_again_it_is_the_same_listing_with_a_history(market: Market) -> None:
    image = "reg.example/knn:1"
    first = market.catalogue.publish(Listing(image=image, digest=DIGEST, fee=Decimal(1)))
    newer = "sha256:" + "2" * 64
    again = market.catalogue.publish(Listing(image=image, digest=newer, fee=Decimal("1.5")))
    assert again.published == first.published
    assert again.changed >= first.changed
    assert market.catalogue.find(DIGEST) == market.catalogue.find(newer) == again
    history = market.catalogue.history(image)
    assert [(one.digest, one.fee) for one in history] == [
        (DIGEST, Decimal(1)),
        (newer, Decimal("1.5")),
    ]


def test_a_fee_changes_and_a_task_is_retired_and_offered_again(market: Market) -> None:
    catalogue = market.catalogue
    catalogue.publish(KNN)
    before = catalogue.version()
    assert catalogue.set_fee("knn", Decimal("0.000001")).fee == Decimal("0.000001")
    assert catalogue.retire(CID).state is State.RETIRED
    assert catalogue.list() == []
    assert [one.id for one in catalogue.list(retired=True)] == [CID]
    assert catalogue.publish(KNN).state is State.ACTIVE
    assert catalogue.version() == before + 3
    assert [str(one.state) for one in catalogue.history(CID)] == [
        "active", "active", "retired", "active",
    ]  # fmt: skip


def test_of_two_with_the_same_end_the_active_one_is_found(market: Market) -> None:
    twin = "bafybeiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" + CID[-10:]
    market.catalogue.publish(Listing(cid=twin))
    market.catalogue.publish(KNN)
    market.catalogue.retire(CID)
    assert market.catalogue.find(CID[-10:]).id == twin
    assert market.catalogue.find(CID).id == CID


def test_what_is_not_there_or_not_unique_is_said_so(market: Market) -> None:
    market.catalogue.publish(KNN)
    market.catalogue.publish(Listing(cid=OTHER, name="knn"))
    with pytest.raises(RecordNotFound, match="no task 'nothing' is listed"):
        market.catalogue.find("nothing")
    with pytest.raises(RecordNotFound, match="2 tasks have a name that begins with 'knn'"):
        market.catalogue.find("knn")
    with pytest.raises(RecordNotFound, match="no task 'baf' is listed"):
        market.catalogue.find("baf")  # three letters are no name
    with pytest.raises(RecordNotFound):
        market.catalogue.retire("nothing")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cid", "ipfs://x"),
        ("digest", "sha256:12"),
        ("developer", "=HYPERLINK(1)"),
        ("developer", "a\nb"),
        ("name", "a\x1b[2J"),
        ("description", "a\0b"),
        ("name", "\ud800"),
        ("fee", Decimal(-1)),
        ("fee", Decimal("0.0000001")),
        ("fee", Decimal("NaN")),
        ("fee", Decimal("Infinity")),
        ("fee", Decimal("1e12")),
        ("fee", 0.25),
        ("memory", 0),
        ("cpus", -1.0),
        ("gpus", -1),
        ("id", "another"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_field(
    market: Market, field: str, value: object
) -> None:
    with pytest.raises(InputError) as caught:
        market.catalogue.publish(replace(KNN, **{field: value}))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert market.catalogue.list() == []


def test_names_in_any_script_are_kept(market: Market) -> None:
    listing = market.catalogue.publish(
        replace(KNN, name="最近傍 🐳", developer="Žofie", description="x" * 20_000)
    )
    assert market.catalogue.find("最近傍 🐳") == listing


def test_many_who_publish_at_once_lose_nothing(url: str) -> None:
    def publish(number: int) -> None:
        with open_market(url) as mine:  # several make the tables at once
            for turn in range(5):
                mine.catalogue.publish(Listing(image=f"i{number}-{turn}:1"))
                mine.catalogue.publish(Listing(image="shared:1", fee=Decimal(number)))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_market(url) as market:
        assert len(market.catalogue.list()) == 21
        assert len(market.catalogue.history("shared:1")) == 20
        assert market.catalogue.version() == 40
