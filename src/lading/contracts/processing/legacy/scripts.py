"""What a script reads from its environment, and which others it runs: a look at its text.

Python is parsed, a shell's script is scanned. Neither is run, so what a program computes (the name
of a variable, the path of a script) stays unknown; :attr:`Look.computed` says where.
"""

from __future__ import annotations

import ast
import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Look", "Need", "Reading", "language", "look"]

PYTHON, SHELL = "python", "shell"
_PATH = re.compile(r"[\w./{}$-]*[\w-]\.(?:py|sh|bash)\b")
_CONFIGURATION = re.compile(r"\bconf(?:ig)?\.json\b")
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_TRUTH = frozenset(("true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"))


class Need(enum.StrEnum):
    """What becomes of a program if a variable is not set."""

    REQUIRED = "required"
    """It fails."""
    DEFAULT = "default"
    """It takes a text that is known."""
    OPTIONAL = "optional"
    """It does without, or takes what is not known here."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One place at which a variable is read.

    Parameters
    ----------
    name : str
    path, line : str and int
        Where.
    need : Need
    default : str
        What it takes instead: as text where `need` is ``default``, as the source has it where it is
        something else.
    type : str
        ``int``, ``float`` or ``boolean`` where it is turned into that; else empty.
    """

    name: str
    path: str
    line: int
    need: Need
    default: str = ""
    type: str = ""


@dataclass(slots=True)
class Look:
    """What was seen in one script.

    Parameters
    ----------
    path, language : str
    readings : list of Reading
        In the order of the text.
    sets : set of str
        Variables that it sets for those it runs.
    paths : list of str
        Of scripts that it names, as it writes them.
    modules : list of str
        Python modules that it imports or runs, dotted; relative ones begin with dots.
    folders : list of str
        Where it goes (``cd``).
    configuration : list of int
        Lines that name ``conf.json``.
    computed : list of int
        Lines that read a variable whose name is computed.
    """

    path: str
    language: str
    readings: list[Reading] = field(default_factory=list)
    sets: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    configuration: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)


def language(path: str, content: bytes) -> str:
    """Tell ``python`` and ``shell`` by the first line, or by the name; empty for all else."""
    if b"\0" in content[:4096]:
        return ""
    first = content[:200].split(b"\n", 1)[0].decode("utf-8", "replace")
    if first.startswith("#!"):
        if "python" in first:
            return PYTHON
        return SHELL if re.search(r"\b(?:ba|da|a|k|z)?sh\b", first) else ""
    if path.endswith(".py"):
        return PYTHON
    known = path.endswith((".sh", ".bash")) or "." not in path.rpartition("/")[2]
    return SHELL if known else ""


def look(path: str, text: str, kind: str) -> Look:
    """Look at a script.

    Parameters
    ----------
    path : str
        What it is called in what is found.
    text : str
    kind : str
        From :func:`language`.
    """
    found = Look(path, kind)
    for number, line in enumerate(text.splitlines(), start=1):
        if _CONFIGURATION.search(line):
            found.configuration.append(number)
    if kind == PYTHON:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            _python_by_words(found, text)  # Python 2, for example
        else:
            _Python(found, tree).walk()
    else:
        _Shell(found, text).scan()
    return found


# Python.


class _Python:
    """The reading of one module."""

    def __init__(self, found: Look, tree: ast.Module) -> None:
        self._found = found
        self._nodes = list(ast.walk(tree))
        self._environs = {"environ"}
        self._getenvs = {"getenv"}
        self._types: dict[int, str] = {}
        self._alternatives: dict[int, ast.expr] = {}

    def walk(self) -> None:
        """Look at every node: first at what surrounds a reading, then at the readings."""
        for node in self._nodes:
            self._prepare(node)
        for node in self._nodes:
            self._visit(node)
        self._found.readings.sort(key=lambda reading: reading.line)

    def _prepare(self, node: ast.AST) -> None:
        match node:
            case ast.ImportFrom(module="os"):
                for alias in node.names:
                    if alias.name == "environ":
                        self._environs.add(alias.asname or alias.name)
                    elif alias.name == "getenv":
                        self._getenvs.add(alias.asname or alias.name)
            case ast.Assign(targets=[ast.Name(id=name)]) if self._is_environ(node.value):
                self._environs.add(name)
            case ast.Call(func=ast.Name(id="int" | "float" as kind), args=[inner, *_]):
                self._types[id(inner)] = kind
            case ast.Call(func=ast.Name(id="strtobool" | "str2bool"), args=[inner, *_]):
                self._types[id(inner)] = "boolean"
            case ast.Compare(left=left, comparators=[other]) if _says_truth(other):
                while isinstance(left, ast.Call) and isinstance(left.func, ast.Attribute):
                    self._types[id(left)] = "boolean"
                    left = left.func.value
                self._types[id(left)] = "boolean"
            case ast.BoolOp(op=ast.Or(), values=[first, second]):
                self._alternatives[id(first)] = second
                if id(node) in self._types:
                    self._types[id(first)] = self._types[id(node)]

    def _visit(self, node: ast.AST) -> None:
        found = self._found
        match node:
            case ast.Subscript(value=owner, slice=key) if self._is_environ(owner):
                if not isinstance(node.ctx, ast.Load):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        found.sets.add(key.value)
                    return
                self._add(node, key, Need.REQUIRED)
            case ast.Call(func=func, args=[key, *rest]) if self._reads(func):
                self._add_with_default(node, key, rest)
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[other]) if (
                self._is_environ(other)
            ):
                self._add(node, key, Need.OPTIONAL)
            case ast.keyword(arg="envvar", value=ast.Constant(value=str())):  # click, Typer
                self._add(node.value, node.value, Need.OPTIONAL)
            case ast.Import():
                found.modules += [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = "." * node.level + (node.module or "")
                found.modules.append(base)
                found.modules += [
                    f"{base}{'' if base.endswith('.') else '.'}{alias.name}" for alias in node.names
                ]
            case ast.Constant(value=str(text)) if len(text) < 1000:
                found.paths += _PATH.findall(text)

    def _is_environ(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == "environ"
        return isinstance(node, ast.Name) and node.id in self._environs

    def _reads(self, func: ast.expr) -> bool:
        match func:
            case ast.Attribute(value=owner, attr="get" | "pop" | "setdefault"):
                return self._is_environ(owner)
            case ast.Attribute(attr="getenv"):
                return True
            case ast.Name(id=name):
                return name in self._getenvs
        return False

    def _add_with_default(self, node: ast.expr, key: ast.expr, rest: list[ast.expr]) -> None:
        default = rest[0] if rest else self._alternatives.get(id(node))
        match default:
            case None | ast.Constant(value=None):
                self._add(node, key, Need.OPTIONAL)
            case ast.Constant(value=str(text)):
                self._add(node, key, Need.DEFAULT, text)
            case _:  # another type than a text: to set its text would not be the same
                self._add(node, key, Need.OPTIONAL, ast.unparse(default))

    def _add(self, node: ast.expr, key: ast.expr, need: Need, default: str = "") -> None:
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            self._found.computed.append(node.lineno)
            return
        if _NAME.match(key.value):
            kind = self._types.get(id(node), "")
            self._found.readings.append(
                Reading(key.value, self._found.path, node.lineno, need, default, kind)
            )


def _says_truth(node: ast.expr) -> bool:
    """Whether something is compared with ``"true"`` and the like."""
    values = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    texts = [item.value for item in values if isinstance(item, ast.Constant)]
    words = {text.lower() for text in texts if isinstance(text, str)}
    return bool(words) and words <= _TRUTH and bool(words - {"0", "1", "t", "f", "y", "n"})


_PYTHON_WORDS = re.compile(
    r"environ\s*\[\s*['\"](?P<key>\w+)['\"]\s*\]"
    r"|(?:environ\s*\.\s*get|getenv)\s*\(\s*['\"](?P<get>\w+)['\"]\s*"
    r"(?:,\s*(?P<quote>['\"])(?P<default>[^'\"]*)(?P=quote))?"
)
_PYTHON_IMPORT = re.compile(r"^\s*(?:import|from)\s+([.\w]+)", re.MULTILINE)


def _python_by_words(found: Look, text: str) -> None:
    """Look at Python that this Python can't parse."""
    for match in _PYTHON_WORDS.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        default = match["default"]
        need = Need.REQUIRED if match["key"] else Need.OPTIONAL
        need = need if default is None else Need.DEFAULT
        name = match["key"] or match["get"]
        found.readings.append(Reading(name, found.path, line, need, default or ""))
    found.modules += _PYTHON_IMPORT.findall(text)
    found.paths += _PATH.findall(text)


# Shell.

_TOKEN = re.compile(
    r"""
    (?P<comment>(?:^|(?<=[\s;&|(]))\#[^\n]*)
  | (?P<single>'[^']*')
  | (?P<escape>\\.)
  | (?P<double>")
  | (?:^|(?<=[\s;&|(]))(?P<given>export\s+)?(?P<target>[A-Za-z_]\w*)\+?=
  | \bfor\s+(?P<loop>[A-Za-z_]\w*)\s+in\b
  | (?:^|(?<=[\s;&|(]))(?:read|local|declare|typeset|readarray|mapfile|getopts)\s+
        (?P<names>[^\n;|&<=]*)
  | (?:^|(?<=[\s;&|(]))cd\s+(?:--\s+)?["']?(?P<folder>/[\w./-]*)
  | \bpython[\d.]*\s+(?:-\w+\s+)*?-m\s+(?P<module>[\w.]+)
  | \$\{(?P<length>\#)?(?P<braced>[A-Za-z_]\w*)(?P<operator>:?[-=?+])?
  | \$\{!(?P<computed>[A-Za-z_]\w*)\}
  | \$(?P<plain>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_STRICT = re.compile(r"^\s*set\s+-\w*u|^#!.*sh\s+-\w*u|set\s+-o\s+nounset", re.MULTILINE)
_SHELL_OWN = re.compile(
    r"(?:BASH\w*|E?UID|FUNCNAME|HOME|HOSTNAME|IFS|LANG|LC_\w+|LD_\w+|LINENO|LOGNAME|OLDPWD|OPTARG"
    r"|OPTIND|PATH|PIPESTATUS|PPID|PS\d|PWD|PYTHONPATH|RANDOM|REPLY|SECONDS|SHELL|TERM|TMPDIR|USER)\Z"
)
_PROGRAM = re.compile(
    r"(?:^|[;&|(]|\bexec\s|\bthen\s|\bdo\s|\belse\s)[ \t]*(/[\w./-]+)", re.MULTILINE
)


class _Shell:
    """The scan of one script, from its beginning to its end."""

    def __init__(self, found: Look, text: str) -> None:
        self._found = found
        self._text = text
        self._assigned: dict[str, int] = {}
        """Names that are the script's own, and from where on."""
        self._strict = bool(_STRICT.search(text))

    def scan(self) -> None:
        """Look at every word outside of comments and single quotes."""
        at, quoted = 0, False
        while (match := _TOKEN.search(self._text, at)) is not None:
            at = match.end()
            if match["double"]:
                quoted = not quoted
            elif quoted and (match["comment"] or match["single"] or match["target"]):
                at = match.start() + 1  # only the text of a quotation
            else:
                self._token(match)
        self._found.paths += list(self._paths())
        self._found.sets -= {reading.name for reading in self._found.readings}

    def _token(self, match: re.Match[str]) -> None:
        found = self._found
        if name := match["target"]:
            self._assigned.setdefault(name, self._end_of_word(match.end()))
            if match["given"]:
                found.sets.add(name)
        elif name := match["loop"]:
            self._assigned.setdefault(name, match.end())
        elif names := match["names"]:
            for name in re.findall(r"(?<![\w-])[A-Za-z_]\w*", names):
                self._assigned.setdefault(name, match.end())
        elif match["folder"]:
            found.folders.append(match["folder"])
        elif match["module"]:
            found.modules.append(f"{match['module']}.__main__")
            found.modules.append(match["module"])
        elif match["computed"]:
            found.computed.append(self._line(match.start()))
        elif name := match["braced"] or match["plain"]:
            self._read(name, match)

    def _read(self, name: str, match: re.Match[str]) -> None:
        if _SHELL_OWN.match(name) or self._assigned.get(name, len(self._text)) <= match.start():
            return
        operator = (match["operator"] or "").lstrip(":")
        need, default = (Need.REQUIRED if self._strict else Need.OPTIONAL), ""
        if operator == "?":
            need = Need.REQUIRED
        elif operator == "+":
            need = Need.OPTIONAL
        elif operator:
            default = self._until_brace(match.end())
            constant = not re.search(r"[$`]", default)
            need = Need.DEFAULT if constant else Need.OPTIONAL
            default = re.sub(r"[\"']", "", default) if constant else default
        line = self._line(match.start())
        self._found.readings.append(Reading(name, self._found.path, line, need, default))

    def _line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1

    def _until_brace(self, at: int) -> str:
        depth, begin = 1, at
        while at < len(self._text):
            depth += {"{": 1, "}": -1}.get(self._text[at], 0)
            if not depth:
                break
            at += 1
        return self._text[begin:at]

    def _end_of_word(self, at: int) -> int:
        """Find where an assignment ends: what its value reads is read before."""
        depth, quote, text = 0, "", self._text
        while at < len(text):
            char = text[at]
            if char == "\\":
                at += 1
            elif quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            elif char in "({":
                depth += 1
            elif char in ")}":
                depth -= 1
            elif not depth and (char.isspace() or char in ";&|"):
                break
            at += 1
        return at

    def _paths(self) -> Iterator[str]:
        for line in self._text.splitlines():
            if not line.lstrip().startswith("#"):
                yield from _PATH.findall(line)
                yield from _PROGRAM.findall(line)
