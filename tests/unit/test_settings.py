"""Files of variables, and where the state is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lading.errors import ConfigError
from lading.settings import EngineOptions, engine_options, load_env_file


def test_the_options_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADING_ENGINE", "kubernetes")
    monkeypatch.setenv("LADING_CLUSTER_FILES", "/data=pvc:data")
    monkeypatch.setenv("LADING_CLUSTER_PATIENCE", "2.5")
    found = engine_options({"engine": "podman", "engine_timeout": 3})
    assert found == EngineOptions(
        engine="podman", engine_timeout=3.0, cluster_files="/data=pvc:data", cluster_patience=2.5
    )
    monkeypatch.setenv("LADING_CLUSTER_PATIENCE", "long")
    with pytest.raises(ConfigError, match=r"LADING_CLUSTER_PATIENCE.*'long' is not a number"):
        engine_options()
    with pytest.raises(ConfigError, match="cluster_patience: must be seconds, more than 0"):
        engine_options({"cluster_patience": 0})


def test_a_file_of_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LT_SET", "before")
    names = ("LT_PLAIN", "LT_SINGLE", "LT_DOUBLE", "LT_EMPTY", "LT_OTHER", "LT_MORE", "LT_HASH")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(
        "# a comment\n"
        "LT_SET=after\n"
        "LT_PLAIN = a value  # why\n"
        "export LT_SINGLE='${LT_SET} # \\n'\n"
        'LT_DOUBLE="a \\"b\\"\\nc ${LT_SET}" # why\n'
        "LT_EMPTY=\n"
        "LT_OTHER=${LT_PLAIN}/x\n"
        "LT_MORE=${LT_NONE:-fallback}\n"
        "LT_HASH=a#b\n"
        "no assignment\n"
    )
    added = load_env_file(tmp_path / ".env")
    assert added == {
        "LT_PLAIN": "a value",
        "LT_SINGLE": "${LT_SET} # \\n",
        "LT_DOUBLE": 'a "b"\nc before',
        "LT_EMPTY": "",
        "LT_OTHER": "a value/x",
        "LT_MORE": "fallback",
        "LT_HASH": "a#b",
    }
    assert {name: os.environ[name] for name in added} == added
    assert os.environ["LT_SET"] == "before"
    for name in added:
        monkeypatch.delenv(name)


def test_no_file_of_variables(tmp_path: Path) -> None:
    assert load_env_file(tmp_path / "none") == {}
    assert load_env_file(tmp_path) == {}
