"""Files written again: whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lading.errors import ConfigError
from lading.folders.rewriting import check_writable, replace_file


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    replace_file(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"after"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    replace_file(tmp_path / "new", b"1")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) & 0o400
    assert listed(tmp_path) == ["link", "new", "real"]


def test_what_is_read_only_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o444)
    for work in (check_writable, lambda path: replace_file(path, b"after")):
        with pytest.raises(ConfigError, match="is read-only") as failure:
            work(path)
        assert failure.value.fix.startswith("chmod u+w")
    assert path.read_bytes() == b"before"
    assert listed(tmp_path) == ["file"]


def test_a_write_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        replace_file(path, b"after")
    assert path.read_bytes() == b"before"
    assert listed(tmp_path) == ["file"]
