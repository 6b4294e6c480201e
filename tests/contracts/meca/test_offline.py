"""What a Dockerfile has the engine itself fetch."""

from __future__ import annotations

import pytest

from lading.contracts.meca.offline import reaches_out


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("FROM a\nADD https://x.example/y /y\n", "Dockerfile:2: ADD https://x.example/y"),
        ("FROM a\nADD --chown=1 a http://127.0.0.1:5001/ /y\n", ":2: ADD http://127.0.0.1:5001/"),
        ('FROM a\nadd ["ftp://x/y", "/y"]\n', "Dockerfile:2: ADD ftp://x/y"),
        ("FROM a\nADD git@x.example:y/z.git /y\n", "ADD git@x.example:y/z.git"),
        ("FROM a\nARG U=http://x\nADD ${U} /y\n", "Dockerfile:3: ADD ${U}"),
        ("FROM a\nADD \\\n# a comment\n  http://x /y\n", "Dockerfile:2: ADD http://x"),
        ("# escape=`\nFROM a\nADD `\nhttp://x /y\n", "Dockerfile:3: ADD http://x"),
        ("FROM a\nONBUILD ADD http://x /y\n", "Dockerfile:2: ADD http://x"),
        (
            "# syntax=evil.example/frontend\nFROM a\n",
            "Dockerfile:1: # syntax=evil.example/frontend",
        ),
        ("\ufeff#SYNTAX = x\nFROM a\n", "Dockerfile:1: #SYNTAX = x"),
        ("#!/bin/x\n// syntax=y\nFROM a\n", "Dockerfile:2: // syntax=y"),
        ('{"syntax": "x"}', "another builder"),
        ("FROM a\nRUN --network=host id\n", "RUN --network=host"),
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
        "FROM a\nRUN <<EOF\nADD http://x /y\nEOF\nRUN --network=none id\n",
        "# just syntax\n# check=skip=all\nFROM a\n",
        "",
    ],
)
def test_what_does_not(text: str) -> None:
    assert reaches_out(text) is None
