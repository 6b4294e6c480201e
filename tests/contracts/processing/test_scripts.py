"""What scripts read from their environment, seen in their texts."""

from __future__ import annotations

import pytest

from lading.contracts.processing.legacy.scripts import Need, language, look

REQUIRED, DEFAULT, OPTIONAL = Need.REQUIRED, Need.DEFAULT, Need.OPTIONAL


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('os.environ["A"]', [("A", REQUIRED, "", "")]),
        ('int(os.environ["A"])', [("A", REQUIRED, "", "int")]),
        ('os.environ.get("A", "x")', [("A", DEFAULT, "x", "")]),
        ('float(os.getenv("A", "0.5"))', [("A", DEFAULT, "0.5", "float")]),
        ('os.getenv("A")', [("A", OPTIONAL, "", "")]),
        ('os.getenv("A", None)', [("A", OPTIONAL, "", "")]),
        ('os.getenv("A", False)', [("A", OPTIONAL, "False", "")]),
        ('os.getenv("A", f())', [("A", OPTIONAL, "f()", "")]),
        ('os.getenv("A") or "x"', [("A", DEFAULT, "x", "")]),
        ('int(os.getenv("A") or "1")', [("A", DEFAULT, "1", "int")]),
        ('"A" in os.environ', [("A", OPTIONAL, "", "")]),
        ('os.getenv("A", "no").lower() in ("yes", "true")', [("A", DEFAULT, "no", "boolean")]),
        ('os.environ["A"] == "True"', [("A", REQUIRED, "", "boolean")]),
        ('os.environ.setdefault("A", "x")', [("A", DEFAULT, "x", "")]),
        ('from os import environ as e\ne["A"]', [("A", REQUIRED, "", "")]),
        ('from os import getenv\ngetenv("A")', [("A", OPTIONAL, "", "")]),
        ('env = os.environ\nenv.get("A", "x")', [("A", DEFAULT, "x", "")]),
        ('click.option("--a", envvar="A")', [("A", OPTIONAL, "", "")]),
        ('print os.environ["A"], os.environ.get("B", "x")',
         [("A", REQUIRED, "", ""), ("B", DEFAULT, "x", "")]),
        ('os.environ["A"] = "x"', []),
        ('settings["A"]; settings.get("A")', []),
    ],
)  # fmt: skip
def test_python(text: str, found: list[tuple[str, Need, str, str]]) -> None:
    seen = look("/x.py", text, "python").readings
    assert [(one.name, one.need, one.default, one.type) for one in seen] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("echo $A", [("A", OPTIONAL, "")]),
        ('echo "$A"', [("A", OPTIONAL, "")]),
        ("echo '$A' # $A", []),
        ("echo \"it's $A\" '$B'", [("A", OPTIONAL, "")]),
        (r"echo \$A", []),
        ("set -eu\necho $A", [("A", REQUIRED, "")]),
        (': "${A:?must be}"', [("A", REQUIRED, "")]),
        ("A=${A:-x}\necho $A", [("A", DEFAULT, "x")]),
        ('A="${A:-x y}"', [("A", DEFAULT, "x y")]),
        (': "${A:=x}"', [("A", DEFAULT, "x")]),
        ("echo ${A-x}${A+y}", [("A", DEFAULT, "x"), ("A", OPTIONAL, "")]),
        ("echo ${A:-${B:-x}}", [("A", OPTIONAL, "${B:-x}"), ("B", DEFAULT, "x")]),
        ("echo ${#A} ${A%.x}", [("A", OPTIONAL, ""), ("A", OPTIONAL, "")]),
        ("A=1; echo $A", []),
        ("export A=1 && echo $A", []),
        ("echo $A; A=1", [("A", OPTIONAL, "")]),
        ("for f in $A; do echo $f; done", [("A", OPTIONAL, "")]),
        ("while read -r a b; do echo $a $b; done", []),
        ("f() { local x y=$A; echo $x $y; }", [("A", OPTIONAL, "")]),
        ("echo $1 $@ $? ${10} $HOME $PWD", []),
        ("awk '{ print $NF }' x", []),
    ],
)
def test_shell(text: str, found: list[tuple[str, Need, str]]) -> None:
    seen = look("/x.sh", text, "shell").readings
    assert [(one.name, one.need, one.default) for one in seen] == found


def test_what_else_a_shells_script_tells() -> None:
    text = """\
#!/bin/bash
cd /app
export MODEL=/model
"$(dirname "$0")"/process.py --config conf/conf.json
# not this.py
python3 -u -m tool.run
exec /usr/local/bin/tool "$@"
echo ${!NAME}
"""
    found = look("/start.sh", text, "shell")
    assert found.paths == ["/process.py", "/usr/local/bin/tool"]
    assert found.modules == ["tool.run.__main__", "tool.run"]
    assert (found.folders, found.sets) == (["/app"], {"MODEL"})
    assert (found.configuration, found.computed) == ([4], [8])


def test_what_else_python_tells() -> None:
    text = """\
import numpy
from .settings import X
from tool import io
subprocess.run(["bash", "run.sh"])
os.environ["MODEL"] = "x"
for name in names: os.environ[name]
"""
    found = look("/x.py", text, "python")
    assert found.modules == ["numpy", ".settings", ".settings.X", "tool", "tool.io"]
    assert (found.paths, found.sets, found.computed) == (["run.sh"], {"MODEL"}, [6])


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/run", b"#!/usr/bin/env python3\n", "python"),
        ("/run.py", b"import os\n", "python"),
        ("/run", b"#!/bin/bash -e\n", "shell"),
        ("/run.sh", b"echo\n", "shell"),
        ("/run", b"echo\n", "shell"),
        ("/run", b"#!/usr/bin/perl\n", ""),
        ("/run", b"\x7fELF\0", ""),
        ("/run.R", b"x <- 1\n", ""),
    ],
)
def test_languages(path: str, content: bytes, kind: str) -> None:
    assert language(path, content) == kind
