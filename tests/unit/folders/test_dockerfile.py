"""A Dockerfile read: lines, words, flags, here-documents, stages and variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.folders.dockerfile import parse, split_words
from lading.folders.stages import expand, read_dockerfile


def shown(text: str) -> list[tuple[int, str, str]]:
    instructions, mistakes, _ = parse(text)
    assert mistakes == []
    return [(one.line, one.name, one.text) for one in instructions]


def mistakes(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.text) for one in read_dockerfile(text).mistakes]


def test_instructions_have_the_line_where_they_begin() -> None:
    assert shown('# first\n\nfrom a:1\n  run  x   y \nCMD ["a"]\n') == [
        (3, "FROM", "a:1"),
        (4, "RUN", "x   y"),
        (5, "CMD", '["a"]'),
    ]


def test_lines_go_on_after_an_escape_and_comments_between_them_do_not_count() -> None:
    text = "FROM a:1\nRUN one \\\n# why\n\n  && two \\  \n  && three\nUSER me\n"
    assert shown(text) == [
        (1, "FROM", "a:1"),
        (2, "RUN", "one   && two   && three"),
        (7, "USER", "me"),
    ]


def test_two_escapes_are_no_end_of_a_line() -> None:
    assert shown("FROM a:1\nRUN echo \\\\\nUSER me") == [
        (1, "FROM", "a:1"),
        (2, "RUN", "echo \\\\"),
        (3, "USER", "me"),
    ]


def test_the_escape_is_chosen_by_a_directive_on_top() -> None:
    text = "# syntax=docker/dockerfile:1\n# escape=`\nFROM a:1\nCOPY c:\\x `\n  c:\\y\n"
    assert shown(text)[1] == (4, "COPY", "c:\\x   c:\\y")
    assert shown("# a comment\n# escape=`\nFROM a:1\nRUN x `\nUSER y\n")[1:] == [
        (4, "RUN", "x `"),
        (5, "USER", "y"),
    ], "after anything else it is a comment"
    assert parse("# escape=x\nFROM a:1\n")[1][0].line == 1


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    read = read_dockerfile('\ufeff# escape=\\\r\nFROM a:1\r\nRUN x \\\r\n  y\r\nCMD ["z"]\r\n')
    assert read.mistakes == []
    assert read.final is not None
    assert [one.words for one in read.final.instructions] == [("x", "y"), ("z",)]


def test_lists_and_what_only_looks_like_one() -> None:
    (run, command, port), _, _ = parse('RUN ["a", "b c"]\nCMD [\'a\', \'b\']\nEXPOSE ["80"]\n')
    assert (run.is_list, run.words) == (True, ("a", "b c"))
    assert command.is_list is False
    assert port.is_list is False


def test_flags_stand_before_all_else() -> None:
    (copy,), _, _ = parse("COPY --from=build --chmod=755 --link a --b c/\n")
    assert copy.flags == {"from": "build", "chmod": "755", "link": ""}
    assert copy.words == ("a", "--b", "c/")


def test_here_documents_are_not_read_as_instructions() -> None:
    run = "RUN <<EOF\nUSER nobody\n# kept\nEOF\n"
    copy = "COPY <<-'A' <<B /x/\n\tone\n\tA\ntwo\nB\n"
    text = f"FROM a:1\n{run}{copy}USER me\n"
    instructions, wrong, _ = parse(text)
    assert wrong == []
    assert [(one.line, one.name) for one in instructions] == [
        (1, "FROM"),
        (2, "RUN"),
        (6, "COPY"),
        (11, "USER"),
    ]
    assert instructions[1].body == "USER nobody\n# kept"
    assert instructions[2].body == "\tone\ntwo"
    assert instructions[2].heredocs == ("<<-'A'", "<<B")


def test_within_quotes_no_here_document_begins() -> None:
    assert shown("FROM a:1\nRUN echo \"a <<EOF b\" '<<EOF'\nUSER me\n")[2] == (3, "USER", "me")


def test_what_a_builder_refuses() -> None:
    assert mistakes("FORM a:1\n") == [(1, "'FORM' is no instruction")]
    assert mistakes("RUN x\nFROM a:1\nCOPY\n") == [
        (1, "RUN stands before the first FROM"),
        (3, "COPY says nothing"),
    ]
    assert mistakes("ARG A=1\n") == [(1, "there is no FROM")]
    assert mistakes("FROM a b\n") == [(1, "write it as FROM image, or FROM image AS name")]
    assert mistakes("FROM a:1\nRUN <<EOF\nx\n") == [(2, "the here-document EOF is never ended")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b", ["a", "b"]),
        ("'a b' \"c d\"e", ["a b", "c de"]),
        ("a\\ b", ["a b"]),
        ('"" x', ["", "x"]),
        ("'a\\'", ["a\\"]),
        ("\\$a", ["\\$a"]),
        ("'never closed", ["never closed"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x$A.y", "x1.y"),
        ("${A}", "1"),
        ("${B:-2}", "2"),
        ("${A:-2}", "1"),
        ("${A:+set}${B:+set}", "set"),
        ("${B:-$A}", "1"),
        ("\\$A", "$A"),
        ("$B", None),
        ("$UNKNOWN", None),
        ("${UNKNOWN}x", None),
        ("${B:-${A}}", None),
        ("$", "$"),
    ],
)
def test_variables(text: str, value: str | None) -> None:
    assert expand(text, {"A": "1", "B": ""}) == value


STAGES = """\
ARG TAG=1.2
ARG NONE
FROM base:${TAG} AS Build
ARG TAG
ARG PLATFORM
ENV HOME=/home/$TAG OLD="a b"
USER first
FROM $NONE
FROM build AS last
ENV PORT 80 80
"""


def test_stages_and_what_they_inherit() -> None:
    build, nothing, last = read_dockerfile(STAGES).stages
    assert (build.base, build.name, build.line, build.parent) == ("base:1.2", "build", 3, None)
    assert build.variables == {
        "TAG": "1.2",
        "PLATFORM": None,
        "HOME": "/home/1.2",
        "OLD": "a b",
    }
    assert (nothing.base, nothing.written) == (None, "$NONE")
    assert last.parent is build
    assert last.root is build
    assert last.variables["PORT"] == "80 80"
    user = last.last("USER")
    assert user is not None
    assert user.text == "first"


def test_of_what_is_said_twice_the_last_counts() -> None:
    final = read_dockerfile("FROM a:1\nUSER one\nUSER two\n").final
    assert final is not None
    assert [one.text for one in final.all("USER")] == ["two", "one"]


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    read_dockerfile(text)


@given(
    st.lists(
        st.sampled_from(
            [
                "FROM a",
                "RUN <<E",
                "E",
                "\\",
                "# escape=`",
                "COPY [",
                "ARG",
                "ENV A",
                "ENV =",
                "`",
                "\0",
            ]
        )
    )
)
def test_no_mixture_of_pieces_is_too_odd(lines: list[str]) -> None:
    read_dockerfile("\n".join(lines))
