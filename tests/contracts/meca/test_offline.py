"""What a Dockerfile has the engine itself fetch."""

from __future__ import annotations

import pytest

from lading.contracts.meca.offline import reaches_out


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("FROM a\nADD https://x.example/y /y\n", "Dockerfile:2: ADD https://x.example/y /y"),
        (
            "FROM a\nADD --chown=1 a http://127.0.0.1:5001/ /y\n",
            ":2: ADD a http://127.0.0.1:5001/ /y",
        ),
        ('FROM a\nadd ["ftp://x/y", "/y"]\n', 'Dockerfile:2: ADD ["ftp://x/y", "/y"]'),
        ("FROM a\nADD git@x.example:y/z.git /y\n", "ADD git@x.example:y/z.git /y"),
        ("FROM a\nARG U=http://x\nADD ${U} /y\n", "Dockerfile:3: ADD ${U} /y"),
        ("FROM a\nADD \\\n# a comment\n  http://x /y\n", "Dockerfile:2: ADD http://x /y"),
        ("# escape=`\nFROM a\nADD `\nhttp://x /y\n", "Dockerfile:3: ADD http://x /y"),
        ("FROM a\nONBUILD ADD http://x /y\n", "Dockerfile:2: ADD http://x /y"),
        (
            "# syntax=evil.example/frontend\nFROM a\n",
            "Dockerfile:1: # syntax=evil.example/frontend",
        ),
        ("\ufeff#SYNTAX = x\nFROM a\n", "Dockerfile:1: #SYNTAX = x"),
        ("#!/bin/x\n// syntax=y\nFROM a\n", "Dockerfile:2: // syntax=y"),
        ('{"syntax": "x"}', "another builder"),
        ("FROM a\nRUN --network=host id\n", "RUN --network=host id"),
    ],
)
def test_what_reaches_out(text: str, what: str) -> None:
    found = reaches_out(text)
    assert found is not None
    assert found.endswith(what)


@pytest.mark.parametrize(
    "text",
    [
        'FROM a\nCOPY . /app\nADD app.tar /\nADD ["a b", "/c"]\nRUN curl http://x\n',
        "FROM a\nADD ./src:1 /x\nADD <<EOF /y\nhttp://x\nEOF\n",
        "FROM a\nRUN <<EOF\nset -e\nEOF\nRUN --network=none --mount=type=cache,target=/x id\n",
        "FROM a\nRUN docker run --network=host x\nRUN a \\\n b \\\n && echo ADD http://x\n",
        "FROM a\n# ADD http://x /y\nADDRESS http://x\nENV ADD=http://x\n",
        "FROM a\n" + "RUN a \\\n" * 20_000,
        "# just syntax\n# check=skip=all\nFROM a\n",
        "",
    ],
)
def test_what_does_not(text: str) -> None:
    assert reaches_out(text) is None


HIDDEN = "ADD http://127.0.0.1:5001/ /y"


@pytest.mark.parametrize(
    "text",
    [
        f"FROM a\nRUN <<#x\n{HIDDEN}\n#x\n",
        f'FROM a\nRUN echo "a <<X b"\n{HIDDEN}\n',
        f"FROM a\nRUN <<'A\\' \"<<X y\"\nA\\\n{HIDDEN}\nX\n",
        f" # escape=`\nFROM a\nRUN true `\n{HIDDEN}\n",
        f"# escape=`\nFROM a\nRUN true \\\n{HIDDEN}\n",
        f"FROM a\nRUN true \\\n\x1c# no comment\n{HIDDEN}\n",
        f"FROM a\n\u00a0\u3000{HIDDEN}\n",
        f"FROM a\r\n{HIDDEN}\r\n",
        "FROM a\nADD\x0bhttp://127.0.0.1:5001/ /y\n",
        "FROM a\nADD\thttp://127.0.0.1:5001/ /y\n",
        "FROM a\nA\\\nDD http://127.0.0.1:5001/ /y\n",
        "FROM a\nA\\\n  # a comment\n\nD\\ \t\nD http://127.0.0.1:5001/ /y\n",
        "FROM a\nONBUILD A\\\nDD http://127.0.0.1:5001/ /y\n",
        "FROM a\nONBUILD \\\nADD http://127.0.0.1:5001/ /y\n",
        "FROM a\nONBU\\\nILD ADD http://127.0.0.1:5001/ /y\n",
        "FROM a\nADD ht\\tp://127.0.0.1:5001/ /y\n",
        "FROM a\nADD ht\\\ntp://127.0.0.1:5001/ /y\n",
        'FROM a\nADD h"tt"p://127.0.0.1:5001/ /y\n',
        'FROM a\nADD ["http://127.0.0.1:5001/", "/y"] more\n',
        'FROM a\nADD ["http\\u003a//127.0.0.1:5001/", "/y"]\n',
        'FROM a\nADD --chown="a b" http://127.0.0.1:5001/ /y\n',
        "FROM a\nADD --link --chmod=1 http://127.0.0.1:5001/ /y\n",
        "FROM a\nADD " + "a \\\n" * 200 + "http://127.0.0.1:5001/ /y\n",
        'FROM a\nRUN --mount="type=cache, target=/x" --network=host id\n',
        'FROM a\nRUN --net"work"=host id\n',
        "FROM a\nRUN --net\\\nwork=host id\n",
        "FROM a\nRUN --network=default id\n",
        "FROM a\nRUN " + "--mount=type=tmpfs,target=/x \\\n" * 200 + "--network=host id\n",
    ],
)
def test_what_wants_to_be_misread(text: str) -> None:
    assert reaches_out(text)


@pytest.mark.parametrize(
    "line", ["ADD \\", "A\\", "RUN --a \\", "ONBUILD \\", "\\", "ADD `", "#", "ADD x"]
)
def test_no_file_takes_for_ever(line: str) -> None:
    reaches_out(f"{line}\n" * (200_000 // len(line)))
