"""A real IPFS node, where one runs: LADING_TEST_IPFS names its RPC interface."""

from __future__ import annotations

import os
import random
import urllib.error
import urllib.request
from pathlib import Path

import pytest

REASON = "no IPFS node: LADING_TEST_IPFS names the RPC interface of none (http://127.0.0.1:5001)"


def api_or_skip() -> str:
    """Give the address of the node's RPC interface; skip the test where there is none."""
    api = os.environ.get("LADING_TEST_IPFS", "")
    try:
        if api:
            urllib.request.urlopen(f"{api}/api/v0/version", data=b"", timeout=10).close()
            return api
    except OSError:
        pass
    pytest.skip(REASON)


def awkward(root: Path) -> dict[str, Path]:
    """Make the folders and files of which a CID is easily got wrong."""
    made = {
        name: root / name for name in ("empty", "names", "many", "deep", "sizes", "mixed", "full")
    }
    for path in made.values():
        path.mkdir()
    for name in NAMES:
        (made["names"] / name).write_text(name)
    for number in range(900):
        (made["many"] / f"entry {number}").write_text(str(number))
    for number in range(999):
        (made["full"] / f"{number}").touch()
    inner = made["deep"].joinpath(*(f"level {number}" for number in range(20)))
    inner.mkdir(parents=True)
    (inner / "at the bottom").write_text("here")
    chance = random.Random(5)
    for size in SIZES:
        (made["sizes"] / str(size)).write_bytes(chance.randbytes(size))
        made[f"{size} bytes"] = made["sizes"] / str(size)
    for name in ("empty file", ".hidden", "b/in it", "a/in it", "b/.git/config"):
        path = made["mixed"] / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name if "empty" not in name else "")
    (made["mixed"] / "empty folder").mkdir()
    return made


# Not among them, as the JavaScript node gets them wrong: white space at the end, a backslash, and
# __proto__.
NAMES = (
    "a", "Z", "0", "ä", "a\u0308", "naïve", "日本語", "עברית", "हिन्दी", "🎉 and more",
    "plus+sign", "per%cent", "a space", 'quo"te', "apostrophe's", "amp&=?#;", "new\nline", "t\tb",
    "x" * 255, "ü" * 127, "-rf", "~", "constructor", "CON", "*", "\x7f", "\u202e",
)  # fmt: skip
SIZES = (0, 1, 262_143, 262_144, 262_145, 174 * 262_144, 174 * 262_144 + 1, 60_000_000)
