"""Which records of a builder's cache are those of one context."""

from __future__ import annotations

from typing import Any

from lading.engine.buildkit_leftovers import records_of

SENT = 100 << 20


def record(name: str, second: int, **more: Any) -> dict[str, Any]:
    plain = {"Parent": "", "InUse": False, "Shared": False, "Size": SENT, "Description": ""}
    return {"ID": name, "CreatedAt": f"2026-11-26T15:00:{second:02}Z", **plain, **more}


def archive(name: str, second: int, **more: Any) -> dict[str, Any]:
    return record(name, second, Description="http url http://build-context-xyz", **more)


def files(name: str, second: int, **more: Any) -> dict[str, Any]:
    return record(name, second, Description="fileop target", **{"Size": SENT - 9000, **more})


def test_the_archive_and_what_was_made_of_it() -> None:
    cache = [
        files("of an earlier one", 1),
        archive("an earlier one", 2),
        archive("another size", 9, Size=SENT * 2),
        archive("in use", 9, InUse=True),
        archive("ours", 3, Size=SENT + 4096),
        record("mount / from exec", 4, Parent="x", Description="mount / from exec"),
        files("of an image", 4, Shared=True),
        files("in use, too", 4, InUse=True),
        files("larger", 4, Size=SENT * 2),
        files("a step", 7, Parent="x"),
        files("our files", 5),
        files("COPY into nothing", 6),
    ]
    assert records_of(cache, SENT) == ["ours", "our files"]


def test_nothing_of_ours() -> None:
    assert records_of([], SENT) == []
    assert records_of([files("somebody's", 1), archive("smaller", 2, Size=SENT - 1)], SENT) == []
    assert records_of([archive("alone", 1)], SENT) == ["alone"]
