"""The file of tokens, and who is let in by which."""

from __future__ import annotations

from pathlib import Path

import pytest

from lading.contracts.meca.tokens import Tokens, read_tokens
from lading.errors import ConfigError

ANN, BOB = "a" * 16, "b" * 16


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


def test_lines_comments_and_names(tmp_path: Path) -> None:
    file = written(tmp_path / "t", f"# ours\n\n ann : {ANN}\r\nBob-2@example.org:{BOB}:x\n")
    assert read_tokens(file) == ({"ann": ANN, "Bob-2@example.org": f"{BOB}:x"}, [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no line"),
        ("ann\n", "line 1: must be a name"),
        (f"a b: {ANN}", "line 1: must be a name"),
        (f"=ann: {ANN}", "line 1: must be a name"),
        (f"\noperator: {ANN}", "line 2: 'operator' is a name of ours"),
        (f"anonymous: {ANN}", "is a name of ours"),
        ("ann: secret", "at least 16"),
        (f"ann: {ANN} {BOB}", "at least 16"),
        (f"ann: {'é' * 20}", "at least 16"),
        (f"ann: {ANN}\nann: {BOB}", "line 2: 'ann' is there already"),
        (f"ann: {ANN}\nbob: {ANN}", "line 2: another has the same token"),
    ],
)
def test_what_is_refused_names_the_line_and_no_token(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tokens(written(tmp_path / "t", text))
    assert why in str(caught.value)
    assert not any(token in str(caught.value) for token in (ANN, BOB, "secret"))


def test_a_file_that_is_not_there_or_for_all_to_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_tokens(tmp_path / "absent")
    file = written(tmp_path / "t", f"ann: {ANN}")
    file.chmod(0o644)
    assert "chmod 600" in read_tokens(file)[1][0]
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_tokens(file)


def test_who_sends_what() -> None:
    tokens = Tokens("the-operators", {"ann": ANN, "bob": BOB})
    assert tokens.needed
    assert tokens.who(b"Bearer the-operators") == "operator"
    assert tokens.who(f"Bearer {ANN}".encode()) == "ann"
    assert tokens.who(f"Bearer {BOB}".encode()) == "bob"
    for wrong in (b"", b"Bearer ", b"Bearer x", ANN.encode(), f"bearer {ANN}".encode(), b"\xff"):
        assert tokens.who(wrong) == ""
    assert not Tokens().needed
    assert Tokens(clients={"ann": ANN}).who(b"Bearer ") == ""
