"""Each rule of `lading check`, with a folder that breaks it and nothing else."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lading.cli.check import examine
from lading.contracts.meca.rules import MECA
from lading.contracts.meca.scaffold import TEMPLATES, write_task
from lading.folders.findings import Finding
from lading.folders.rules import COMMON
from lading.folders.survey import Budget

EVERYWHERE = {"base-without-digest"}
"""Hints that a new folder has."""
RECIPE = "Dockerfile"
KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "QUJD" * 16 + "\n-----END OPENSSH PRIVATE KEY-----\n"
)
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "words"
    write_task("words", made)
    return made


def found(folder: Path) -> dict[str, list[Finding]]:
    """What is found, by rule, without what every new folder has."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in examine(folder).findings:
        if finding.rule not in EVERYWHERE:
            by_rule.setdefault(finding.rule, []).append(finding)
    return by_rule


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def config(**resource: object) -> Callable[[Path], None]:
    return lambda folder: write(
        folder / "config.json", json.dumps({"resource": resource}, indent=1)
    )


def recipe(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: changed(folder / RECIPE, old, new)


def file(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda folder: write(folder / name, content)


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def directory(name: str) -> Callable[[Path], None]:
    def break_it(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return break_it


def link(name: str, aim: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(aim)


def large(name: str, size: int) -> Callable[[Path], None]:
    def break_it(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)  # holes take no room

    return break_it


def many(name: str, count: int, length: int = 8) -> Callable[[Path], None]:
    def break_it(folder: Path) -> None:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:0{length}}").touch()

    return break_it


def without_sources(folder: Path) -> None:
    for path in (folder / "src").iterdir():
        path.unlink()


def sources_are_a_file(folder: Path) -> None:
    without_sources(folder)
    (folder / "src").rmdir()
    (folder / "src").write_text("x")


def hidden_sources(folder: Path) -> None:
    without_sources(folder)
    write(folder / "src/.server.py", 'print("meca-init-done", flush=True)')


def executable(folder: Path) -> None:
    write(folder / "src/start.sh", "#!/bin/sh\nexec python server.py\n")
    (folder / "src/start.sh").chmod(0o755)
    changed(folder / RECIPE, '["python", "server.py"]', '["./start.sh"]')


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "src/pipe")


def listener(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))


def odd_name(folder: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(folder) + b"/src/\xff.txt")), "x")


@dataclass
class Case:
    """A way to break a rule, and what is found then."""

    rule: str
    break_it: Callable[[Path], None]
    place: str
    says: str = ""
    also: tuple[str, ...] = ()
    """Other rules that are broken along with it, of necessity."""


CASES = [
    Case("dockerfile-missing", gone(RECIPE), RECIPE, "there is none"),
    Case("dockerfile-missing", directory(RECIPE), RECIPE, "is a directory"),
    Case("dockerfile-missing", file(RECIPE, "# nothing\r\n\r\n"), RECIPE, "is empty"),
    Case("dockerfile-missing", file(RECIPE, ""), RECIPE, "is empty"),
    Case("dockerfile-missing", file(RECIPE, b"\x7fELF\0\0"), RECIPE, "is no text"),
    Case("dockerfile-missing", file(RECIPE, b"FROM a:1\nRUN \xff\n"), "Dockerfile:2", "UTF-8"),
    Case("dockerfile-missing", large(RECIPE, 3 << 30), RECIPE, "3,221,225,472 bytes",
         also=("file-large", "folder-large")),
    Case("dockerfile-invalid", recipe("WORKDIR /app", "WORDKIR /app"), "Dockerfile:4", "WORDKIR"),
    Case("dockerfile-invalid", recipe("COPY src/ .", "COPY src/"), "Dockerfile:5", "a source"),
    Case("dockerignore-invalid", file(".dockerignore", "a\n[b\n"), ".dockerignore:2", "bad"),
    Case("dockerignore-invalid", file(".dockerignore", b"\xff"), ".dockerignore", "UTF-8"),
    Case("base-undefined", recipe("BASE=python:3.11-slim", "BASE"), "Dockerfile:2", "${BASE}"),
    Case("base-unpinned", recipe("BASE=python:3.11-slim", "BASE=python"), "Dockerfile:2", "no tag"),
    Case("base-unpinned", recipe("BASE=python:3.11-slim", "BASE=h:5000/python:latest"),
         "Dockerfile:2", "latest"),
    Case("copy-source-missing", recipe("COPY src/ .", "COPY src/ S/ ."), "Dockerfile:5", "no S/"),
    Case("copy-source-missing", recipe("COPY src/ .", "COPY src/ .\nADD *.whl /"), "Dockerfile:6",
         "nothing is like *.whl"),
    Case("copy-source-ignored", recipe("COPY src/ .", "COPY src/ ./tests ./"), "Dockerfile:5",
         "leaves ./tests out"),
    Case("copy-source-outside", recipe("COPY src/ .", "COPY src/ ../more ./"), "Dockerfile:5",
         "../more"),
    Case("copy-source-hidden", recipe("COPY src/ .", "COPY src/ .gitignore ./"), "Dockerfile:5",
         ".gitignore"),
    Case("add-url", recipe("COPY src/ .", "COPY src/ .\nADD https://example.org/x /"),
         "Dockerfile:6", "https://example.org/x"),
    Case("command-shell-form", recipe('["python", "server.py"]', "python server.py"),
         "Dockerfile:12", "a line for a shell"),
    Case("command-shell-form", recipe('["python", "server.py"]', "['python', 'server.py']"),
         "Dockerfile:12", "double quotes"),
    Case("command-shell-form", recipe('CMD ["python", "server.py"]', "ENTRYPOINT python server.py"),
         "Dockerfile:12", "ENTRYPOINT"),
    Case("secret-in-dockerfile", recipe("WORKDIR /app", "ENV HF_TOKEN=abc"), "Dockerfile:4",
         "ENV HF_TOKEN"),
    Case("secret-in-dockerfile", recipe("WORKDIR /app", "ARG PASSWORD=abc"), "Dockerfile:4", "ARG"),
    Case("secret-in-folder", file("src/key.pem", f"a\n{KEY}"), "src/key.pem:2", "a private key"),
    Case("secret-in-folder", file("src/a.py", f'\n\nT = "{TOKEN}"\n'), "src/a.py:3", "GitHub"),
    Case("secret-in-folder", file("tests/id_ed25519", "x"), "tests/id_ed25519", "of SSH"),
    Case("secret-in-folder", file(".env", "A=1"), ".env", "environment"),
    Case("secret-likely", file("src/a.py", f'\npassword = "{TOKEN[4:]}"'), "src/a.py:2"),
    Case("file-large", large("src/model.bin", 101 << 20), "src/model.bin", "101 MiB"),
    Case("folder-crowded", many("data/a", 10_001), ".", "10,0", also=("folder-too-wide",)),
    Case("versions-in-context", file("src/.git/config", "x"), "src/.git"),
    Case("clutter", file("src/__pycache__/a.pyc", "x"), "src/__pycache__"),
    Case("executable-lost", executable, "src/start.sh", "CMD runs it"),
    Case("hidden-left-out", file("src/.settings", "x"), "src/.settings"),
    Case("link-outside", link("src/a", "../../other"), "src/a", "../../other"),
    Case("link-outside", link("src/a", "/etc/passwd"), "src/a", "/etc/passwd"),
    Case("link-broken", link("src/a", "absent"), "src/a", "absent"),
    Case("special-file", pipe, "src/pipe", "a pipe"),
    Case("special-file", listener, "s", "a socket"),
    Case("name-not-utf8", odd_name, "src/\udcff.txt", "UTF-8"),
    Case("name-not-portable", file("src/a\nb", "x"), "src/a\nb", r"'a\nb'"),
    Case("script-crlf", file("src/run.sh", "#!/bin/sh\r\ntrue\r\n"), "src/run.sh:1", "CR LF"),
    *(
        Case("file-missing", gone(name), name, "there is none")
        for name in ("name.txt", "description.txt", "example_input.bin", "example_output.bin",
                     "config.json")
    ),
    *(
        Case("file-empty", file(name, " \n"), name, "is empty")
        for name in ("name.txt", "description.txt", "example_input.bin", "config.json")
    ),
    Case("file-empty", file("example_output.bin", ""), "example_output.bin", "is empty"),
    Case("file-empty", without_sources, "src", "is empty", also=("mark-not-found",)),
    Case("file-empty", hidden_sources, "src", "hidden", also=("mark-not-found", "hidden-left-out")),
    Case("file-unusable", sources_are_a_file, "src", "no directory", also=("mark-not-found",)),
    Case("file-unusable", directory("name.txt"), "name.txt", "is a directory"),
    Case("file-unusable", file("description.txt", b"a\nb\n\xff"), "description.txt:3", "UTF-8"),
    Case("name-not-one-line", file("name.txt", "a\nb\n"), "name.txt:2"),
    Case("name-not-one-line", file("name.txt", "a" * 101), "name.txt", "101"),
    Case("byte-order-mark", file("example_input.bin", "\ufeff{}"), "example_input.bin:1"),
    Case("byte-order-mark", file("config.json", '\ufeff{"resource": {}}'), "config.json:1"),
    Case("config-invalid", file("config.json", '{\n"resource": {,}}'), "config.json:2", "JSON"),
    Case("config-invalid", file("config.json", "[1]"), "config.json:1", "object"),
    Case("config-invalid", config(cpu=1, mem=2), "config.json:4", "at least 6 MB"),
    Case("config-invalid", config(cpu="two"), "config.json:3", "'two'"),
    Case("config-invalid", config(use_gpu=True, gpu_count=-1), "config.json:4", "-1"),
    Case("config-invalid", config(cpu=True), "config.json:3", "True"),
    Case("config-unknown-field", config(cpus=2), "config.json:3", "resource.cpus"),
    Case("config-unknown-field", file("config.json", '{"mem": 64}'), "config.json:1", "'mem'"),
    Case("config-unknown-field", file("config.json", '{"resource": {"cpu": 1, "cpu": 2}}'),
         "config.json:1", "twice"),
    Case("config-other-spelling", config(cpu=1, memory=64), "config.json:4", "memory is mem"),
    Case("config-other-spelling", config(resource={"cpu": 1}), "config.json:2", "inside resource"),
    Case("cpu-fractional", config(cpu=0.5), "config.json:3", "0.5"),
    Case("gpu-count-unused", config(gpu_count=2), "config.json:3", "gpu_count is 2"),
    Case("gpu-count-unused", config(use_gpu=False, gpuCount=1), "config.json:4", "gpu_count is 1",
         also=("config-other-spelling",)),
    Case("gpu-count-zero", config(use_gpu=True, gpu_count=0), "config.json:4"),
    Case("limits-above-defaults", config(cpu=5), "config.json:3", "5 cores"),
    Case("limits-above-defaults", config(mem=5000), "config.json:3", "4.9 GiB"),
    Case("input-not-json", file("example_input.bin", "{'a': 1}"), "example_input.bin:1", "JSON"),
    Case("input-not-json", file("example_input.bin", "[1,\nNaN]"), "example_input.bin", "NaN"),
    Case("input-not-json", file("example_input.bin", b'{"a":\n"\xff"}'), "example_input.bin:2"),
    Case("input-not-json", file("example_input.bin", "SGXRAREQUEST"), "example_input.bin:1"),
    Case("input-not-json", file("example_input.bin", "[" * 100_000), "example_input.bin", "deep"),
    Case("input-odd", file("example_input.bin", "{}\r\n"), "example_input.bin", "white space"),
    Case("input-odd", file("example_input.bin", '"{}"'), "example_input.bin", "holds JSON"),
    Case("example-large", large("example_input.bin", 9 << 20), "example_input.bin", "9,437,184"),
    Case("port-not-exposed", recipe("EXPOSE 8080", "EXPOSE 80 8080/udp"), "Dockerfile:2", "8080"),
    Case("command-missing", recipe('CMD ["python", "server.py"]', ""), "Dockerfile:2", "nothing"),
    Case("runs-as-root", recipe("USER 65534:65534", ""), "Dockerfile:2", "no USER"),
    Case("runs-as-root", recipe("USER 65534:65534", "USER root:1"), "Dockerfile:8", "root:1"),
    Case("mark-not-found", lambda f: changed(f / "src/server.py", "init-done", "ready"), "src"),
    Case("mark-not-flushed", lambda f: changed(f / "src/server.py", ", flush=True", ""),
         "src/server.py:61"),
    Case("listens-on-loopback", lambda f: changed(f / "src/server.py", "0.0.0.0", "127.0.0.1"),
         "src/server.py:58", "Server(...)"),
    Case("listens-on-loopback", file("src/app.py", "app.run(port=8080)\n"), "src/app.py:1"),
    Case("listens-on-loopback",
         recipe('["python", "server.py"]', '["python", "-m", "flask", "run", "--port=8080"]'),
         "Dockerfile:12", "flask"),
    Case("folder-too-wide", many("data/a", 1000), "data/a", "1,000 entries"),
    Case("folder-too-wide", many("data/a", 999, 220), "data/a", "999 entries"),
    Case("syntax-fetched", recipe("ARG BASE=", "# escape=\\\n#Syntax = x/y:1\nARG BASE="),
         "Dockerfile:2", "x/y:1"),
    Case("build-needs-network", recipe("COPY src/ .", "COPY src/ .\nRUN pip install numpy==2.4.6"),
         "Dockerfile:6", "pip install"),
    Case("build-needs-network", recipe("COPY src/ .", "COPY src/ .\nRUN <<E\nset -e\ncurl x\nE"),
         "Dockerfile:6", "curl"),
]  # fmt: skip
ELSEWHERE = {
    "base-without-digest": "every case, and test_a_digest_pins",
    "file-unreadable": "tests/e2e/test_new.py, as an ordinary user",
    "folder-large": "of the Dockerfile of 3 GiB above",
    "search-incomplete": "test_a_search_has_an_end",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.place!r}-{case.says}")
def test_a_rule(folder: Path, case: Case) -> None:
    assert found(folder) == {}
    case.break_it(folder)
    findings = found(folder)
    assert set(findings) == {case.rule, *case.also}
    (finding, *_) = findings[case.rule]
    assert finding.place == case.place
    assert case.says in finding.what
    assert finding.why
    assert finding.fix
    (rule,) = [one for one in (*MECA, *COMMON) if one.name == case.rule]
    assert finding.level == rule.level


def test_every_rule_has_a_case() -> None:
    names = [rule.name for rule in (*MECA, *COMMON)]
    assert len(set(names)) == len(names)
    assert {case.rule for case in CASES} | set(ELSEWHERE) == set(names)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_folder_has_nothing_but_a_hint(tmp_path: Path, template: str) -> None:
    write_task("words", tmp_path / "made", template)
    report = examine(tmp_path / "made")
    installs = set() if template == "python" else {"build-needs-network"}
    assert {finding.rule for finding in report.findings} == EVERYWHERE | installs
    assert (report.contract, report.errors, report.warnings) == ("meca", [], [])


def test_a_digest_pins(folder: Path) -> None:
    changed(folder / RECIPE, "python:3.11-slim", f"python@sha256:{'0' * 64}")
    assert examine(folder).findings == []


# What is good, although it looks bad at first.


@pytest.mark.parametrize(
    "make_it",
    [
        recipe("EXPOSE 8080", "ARG PORT=8080\nEXPOSE $PORT"),
        recipe("EXPOSE 8080", "EXPOSE 8000-8090/tcp"),
        recipe("EXPOSE 8080", "ARG PORT\nEXPOSE ${PORT}"),
        recipe('CMD ["python", "server.py"]', "CMD exec python server.py"),
        recipe('CMD ["python", "server.py"]', 'ENTRYPOINT ["python"]\nCMD server.py'),
        recipe("COPY src/ .", "COPY ./src/*.py ./"),
        recipe("COPY src/ .", "COPY . ."),
        recipe("COPY src/ .", "COPY src/ .\nRUN pip install --no-index -f . x && make"),
        recipe("COPY src/ .", "COPY src/ *.whl ./"),
        recipe("COPY src/ .", "ARG WHAT\nCOPY src/ $WHAT ./"),
        recipe("COPY src/ .", "COPY --from=other /absent ./\nCOPY src/ ."),
        recipe("COPY src/ .", "COPY <<EOF /note\nCOPY absent /\nEOF\nCOPY src/ ."),
        recipe("COPY src/ .", "COPY <<-'EOF' <<\"E\" /d/\nCOPY absent /\nEOF\nE\nCOPY src/ ."),
        recipe("COPY src/ .", "ADD --checksum=sha256:00 https://example.org/a /\nCOPY src/ ."),
        recipe("WORKDIR /app", "ARG TOKEN\nENV TOKEN=$TOKEN PASSWORD_FILE=/run/secrets/x"),
        file("src/client.py", 'connect(host="127.0.0.1")\n'),
        file("src/scan.py", 'if b"-----BEGIN PRIVATE KEY-----" in text:\n    pass\n'),
        file("src/notes.txt", "AKIAIOSFODNN7EXAMPLE and ghp_" + "x" * 36),
        file("src/env.example", "TOKEN="),
        link("src/other.py", "work.py"),
        config(cpu=2, mem=256, use_gpu=True, gpu_count=1, use_sgx=False),
        file("example_input.bin", b'"\xc5\x99"'),
        file("example_output.bin", b"\x89PNG\r\n\0\xff"),
        file("name.txt", "数词 žluťoučký кůň\n"),
        file("src/žluťoučký.py", ""),
    ],
)  # fmt: skip
def test_what_is_well(folder: Path, make_it: Callable[[Path], None]) -> None:
    make_it(folder)
    assert found(folder) == {}


def test_the_attestation_is_an_input_of_an_enclave(folder: Path) -> None:
    write(folder / "config.json", '{"resource": {"use_sgx": true}}')
    write(folder / "example_input.bin", "SGXRAREQUEST")
    assert found(folder) == {}


def test_output_that_is_not_buffered_needs_no_flush(folder: Path) -> None:
    changed(folder / "src/server.py", ", flush=True", "")
    text = (folder / RECIPE).read_text()
    for old, new in (
        ("WORKDIR", "ENV PYTHONUNBUFFERED=1\nWORKDIR"),
        ('"python"', '"python", "-u"'),
    ):
        (folder / RECIPE).write_text(text.replace(old, new))
        assert found(folder) == {}


def test_of_several_stages_the_last_counts(folder: Path) -> None:
    text = (folder / RECIPE).read_text()
    write(folder / RECIPE, text + "\nFROM scratch\nCOPY --from=0 /app /app\n")
    assert set(found(folder)) == {"port-not-exposed", "command-missing", "runs-as-root"}
    write(folder / RECIPE, text.replace("${BASE}", "${BASE} AS one") + "\nFROM one\nRUN true\n")
    assert found(folder) == {}


def test_what_neither_a_builder_nor_ipfs_gets_is_not_looked_at(folder: Path) -> None:
    changed(folder / ".dockerignore", "tests", "tests\n.env\n.secrets")
    write(folder / ".env", "TOKEN=1")
    write(folder / ".secrets/id_rsa", KEY)
    assert found(folder) == {}
    write(folder / "tests/id_rsa", KEY)
    assert set(found(folder)) == {"secret-in-folder"}, "which IPFS gets"


def test_no_file_takes_for_ever(folder: Path) -> None:
    mebibyte = 1 << 20
    key = b"-----BEGIN PRIVATE KEY-----"
    for number, content in enumerate(
        (
            key + b" " * mebibyte,
            key + b"\nA: b" * (mebibyte // 5),
            b"app.run(" * (mebibyte // 8),
            b"print(meca-init-done" * (mebibyte // 20),
            b"a" * mebibyte,
            b"secret=" * (mebibyte // 7),
            b"password" * (mebibyte // 8),
        )
    ):
        write(folder / f"src/{number}.py", content)
    lines = ["CMD flask " + "flask " * 40_000, "RUN " + "python -a " * 40_000, *["USER x"] * 40_000]
    write(folder / RECIPE, "FROM a:1\nEXPOSE 8080\n" + "\n".join(lines))
    write(folder / "config.json", "{" + ", ".join(f'"{n % 9}": 1' for n in range(500_000)) + "}")
    assert set(found(folder)) >= {"config-unknown-field", "command-shell-form"}


def test_a_secret_itself_is_never_told(folder: Path) -> None:
    write(folder / "src/a.py", TOKEN)
    assert not any(TOKEN[4:] in str(finding) for finding in examine(folder).findings)


def test_of_many_findings_of_a_rule_some_are_listed(folder: Path) -> None:
    for number in range(50):
        (folder / f"src/{number:02}").symlink_to("/etc/passwd")
    findings = found(folder)["link-outside"]
    assert len(findings) == 21
    assert [one.file for one in findings[:2]] == ["src/00", "src/01"]
    assert findings[-1].what == "and 30 more like these"


def test_a_rule_may_be_left_out(folder: Path) -> None:
    write(folder / "src/a.py", TOKEN)
    assert examine(folder, ignored=frozenset(("secret-in-folder",))).errors == []


def test_a_search_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.folders.contents.Budget", lambda: Budget(content=100))
    assert set(found(folder)) >= {"search-incomplete"}
    monkeypatch.setattr("lading.folders.contents.Budget", lambda: Budget(entries=3))
    assert set(found(folder)) >= {"search-incomplete"}
