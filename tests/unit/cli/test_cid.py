"""`lading cid` as people use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lading.content.adding import add_path

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


def cid(*arguments: str | Path | bytes) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lading", "cid", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello"
    path.write_bytes(b"hello world")
    return path


def test_one_path(hello: Path) -> None:
    done = cid(hello)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{HELLO}\n", "")


def test_several_paths(hello: Path) -> None:
    done = cid(hello, hello.parent)
    assert done.stdout == f"{HELLO}  {hello}\n{add_path(hello.parent).cid}  {hello.parent}\n"


def test_json_records_what_it_depends_on(hello: Path) -> None:
    (hello.parent / ".hidden").touch()
    found = json.loads(cid(hello.parent, "--hidden", "--json").stdout)
    added = add_path(hello.parent, hidden=True)
    assert found["paths"] == [
        {
            "path": str(hello.parent), "cid": str(added.cid), "short": added.cid.short,
            "size": 11, "files": 2, "blocks": 3,
        }
    ]  # fmt: skip
    assert found["profile"]["chunker"] == "size-262144"
    assert found["profile"]["hidden"] is True


def test_what_is_refused(hello: Path) -> None:
    done = cid(hello.parent / "no")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such file or folder" in done.stderr
    (hello.parent / "link").symlink_to("/etc/passwd")
    done = cid(hello.parent)
    assert (done.returncode, done.stdout) == (65, "")
    assert f"{hello.parent}/link: the symbolic link leads outside, to /etc/passwd" in done.stderr
    assert "fix:" in done.stderr


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """It may be that of what is asked for, not of what is in it."""
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(path)).write_bytes(b"hello world")
    assert cid(path).stdout == f"{HELLO}\n"
    assert cid(tmp_path).returncode == 65
