"""Scale rules on a listing that a shell elsewhere made: the same as on the files themselves."""

from __future__ import annotations

import base64
import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lading.contracts.processing.listing import parse, script
from lading.contracts.processing.scaling import size_of, target_size
from lading.contracts.processing.template import ScaleRule

RULES: list[dict[str, Any]] = [
    {"mode": "sum"},
    {"mode": "max_file_size"},
    {"mode": "max_item_sum"},
    {"mode": "sum", "target_dir": "one"},
    {"mode": "sum", "target_dir": "one/deep"},
    {"mode": "sum", "target_dir": "none"},
    {"mode": "max_item_sum", "target_dir": "deep"},
    {"mode": "sum", "target_glob": "*.dcm"},
    {"mode": "max_file_size", "target_glob": "deep/*"},
    {"mode": "sum", "target_regex": r"one/.*\.dcm"},
    {"mode": "max_item_sum", "target_regex": r"(?s).*\n.*"},
    {"mode": "sum", "target_dir": "linked"},
]
SHELL = shutil.which("busybox")


def rule(**fields: Any) -> ScaleRule:
    return ScaleRule.model_validate({"type": "limit", "scale_factor": 1, **fields})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of every name and kind; each size tells which it is."""
    root = tmp_path / "a root's"
    for number, name in enumerate(
        ("top.dcm", "one/a.dcm", "one/deep/b", "one/deep/c.dcm", "two/new\nline/d", "-x y/1//e",
         "two/5//81a4//f", ".hidden/deep/g", "..twice/h", "žluť ☃/i", "one/\n", "one/12\n13")
    ):  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(2**number))
    os.mkfifo(root / "one/pipe")
    (root / "one/file-link").symlink_to("../top.dcm")
    (root / "one/broken").symlink_to("nothing")
    (root / "one/circle").symlink_to("circle")
    (root / "two/folder-link").symlink_to("../one")
    (root / "linked").symlink_to("one")
    return root


@pytest.mark.skipif(SHELL is None, reason="busybox is not installed")
@pytest.mark.parametrize("fields", RULES, ids=str)
def test_a_rule_finds_the_same_in_a_listing(tree: Path, fields: dict[str, Any]) -> None:
    asked = rule(**fields)
    assert SHELL is not None
    command = [SHELL, "sh", "-c", script(asked, str(tree))]
    path = tree.parent / "bin"  # as in the helper's image: nothing else is there
    path.mkdir()
    (path / "busybox").symlink_to(SHELL)
    done = subprocess.run(command, capture_output=True, env={"PATH": str(path)}, check=True)
    found = size_of(asked, parse(done.stdout))
    assert found == target_size(tree, asked)
    assert (found == 0) is (fields.get("target_dir") == "none")


def test_a_listing_that_is_cut_is_none(tree: Path) -> None:
    whole = b"//root\n3//81a4//./a\n//end\n"
    assert parse(base64.b64encode(gzip.compress(whole))) == [[("a", 3)]]
    packed = base64.b64encode(gzip.compress(whole))
    for cut in (b"", packed[:-8], packed[8:], base64.b64encode(gzip.compress(whole[:-6]))):
        with pytest.raises(ValueError, match=r"."):
            parse(cut)
