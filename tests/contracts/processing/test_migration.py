"""What is found in a legacy container's image, and what is drafted of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from lading.contracts.processing.legacy.drafting import default_name, draft
from lading.contracts.processing.legacy.examples import Example
from lading.contracts.processing.legacy.migration import Legacy, inspect
from lading.contracts.processing.legacy.writing import write
from lading.contracts.processing.reading.files import check
from lading.errors import ImageFileNotFound, InputError
from lading.testing import FakeEngine, FakeImage, FakeProcess

SH = {"/bin/sh": b"\x7fELF\0"}


async def never(_: FakeProcess) -> int:
    raise AssertionError("an image is looked into, not run")


def look_at(files: dict[str, str], **image: Any) -> Legacy:
    known = FakeImage(
        "old/tool:1",
        never,
        files=SH | {name: text.encode() for name, text in files.items()},
        **image,
    )
    return asyncio.run(inspected(known))


async def inspected(image: FakeImage) -> Legacy:
    async with FakeEngine([image]) as engine:
        info = await engine.image(image.ref)
        return await inspect(engine, info, reference=image.ref, labels={})


def container(legacy: Legacy, **kwargs: Any) -> dict[str, Any]:
    """The drafted template, read as everybody reads it."""
    drafted = draft(legacy, name="tool", **kwargs)
    for source, kind in (("processing-container.json", "pc"), ("task.json", "task")):
        report = check(drafted.files[source], source=source, environment={}, kind=kind)
        assert (report.errors, report.warnings) == ([], [])
        if kind == "pc":
            assert report.model is not None
            found: dict[str, Any] = report.model.model_dump()["templates"][0]
    return found


def test_scripts_are_followed() -> None:
    legacy = look_at(
        {
            "/usr/local/bin/entry": "#!/bin/sh\ncd /app\n./steps/one.sh\npython3 -m tool\n",
            "/app/steps/one.sh": '"$(dirname "$0")/two.py" $A\n',
            "/app/steps/two.py": "from os import environ\nenviron['B']\n",
            "/app/tool/__main__.py": "from . import deep\nfrom tool.more import x\n",
            "/app/tool/deep.py": "import os\nos.getenv('C')\n",
            "/app/tool/more.py": "import os\nos.getenv('D', 'd')\n",
        },
        entrypoint=("tini", "--", "entry"),
        env={"PATH": "/bin:/usr/local/bin"},
        directory="/app",
    )
    assert [script.path for script in legacy.scripts] == [
        "/usr/local/bin/entry",
        "/app/steps/one.sh",
        "/app/steps/two.py",
        "/app/tool/__main__.py",
        "/app/tool/deep.py",
        "/app/tool/more.py",
    ]
    assert [item.name for item in legacy.variables] == ["A", "B", "C", "D"]
    assert legacy.unread == []


@pytest.mark.parametrize(
    ("entrypoint", "command"),
    [
        (("/bin/sh", "-c", "cd /app && exec python3 main.py"), ()),
        (("bash", "-ec", "python3 -u /app/main.py"), ()),
        (("/bin/sh", "-c"), ("/app/main.py",)),
        (("python3", "-u"), ("/app/main.py", "--fast")),
        (("conda", "run", "-n", "env", "python", "/app/main.py"), ()),
        (("env", "X=1", "python3", "-m", "main"), ()),
    ],
)
def test_forms_of_an_entrypoint(entrypoint: tuple[str, ...], command: tuple[str, ...]) -> None:
    legacy = look_at(
        {"/app/main.py": "import os\nos.environ['A']"},
        entrypoint=entrypoint,
        command=command,
        env={"PYTHONPATH": "/app"},
    )
    assert [item.name for item in legacy.variables] == ["A"]
    dockerfile = draft(legacy, name="tool").files["Dockerfile"].splitlines()
    lines = [json.loads(line.partition(" ")[2]) for line in dockerfile if '["' in line]
    adapted = ["/bin/sh", "/legacy-adapter.sh", *entrypoint]
    assert lines == ([adapted, list(command)] if command else [adapted])


def test_variables_of_several_scripts() -> None:
    legacy = look_at(
        {
            "/start.sh": "export MODEL=/m\nexport MODE=${MODE:-fast}\nX=${X:-1}\n$EMPTY\n./go.py\n",
            "/go.py": "import os\nos.environ['MODEL'], os.environ['MODE'], os.getenv('X', '2')\n"
            "int(os.environ['MUST']), os.getenv('OFF', False), os.environ['HAD']\n",
        },
        entrypoint=("/start.sh",),
        env={"HAD": "value {{ of }} the image", "UNSEEN": "1"},
    )
    found = {item.name: item for item in legacy.variables}
    assert found.keys() == {"MODE", "X", "EMPTY", "MUST", "OFF", "HAD"}
    assert (found["MODE"].value, found["MODE"].known) == ("fast", True)
    assert (found["X"].value, found["X"].known, found["X"].defaults) == ("", False, ("1", "2"))
    assert (found["MUST"].required, found["MUST"].type) == (True, "int")
    assert (found["OFF"].known, found["OFF"].defaults) == (False, ("False",))
    env = {item["name"]: item for item in container(legacy)["env"]}
    assert env["HAD"]["value"] == "value {{ of }} the image"
    assert env["MUST"]["description"] == "Read at /go.py:3. The program fails without it."
    assert "Unless it is set: 1 or 2." in env["X"]["description"]
    assert env["LEGACY_UNSET_IF_EMPTY"]["value"] == "EMPTY MUST OFF X"
    task = json.loads(draft(legacy, name="tool").files["task.json"])
    assert task["env"] == [{"name": "MUST", "value": ""}]


def test_the_old_layout_is_told_from_parameters() -> None:
    text = "".join(
        f"os.environ['{name}']\n"
        for name in (
            "WORKFLOW_DIR", "BATCH_NAME", "BATCHES_INPUT_DIR", "OPERATOR_IN_DIR", "RUN_ID",
            "DAG_ID", "MASK_IN_DIR", "OPERATOR_OUT_DIR",
        )
    )  # fmt: skip
    legacy = look_at(
        {"/go.py": text + "os.getenv('CACHE_OUT_DIR', '/cache')"},
        entrypoint=("/go.py",),
        env={"OPERATOR_IN_DIR": "dicom"},
    )
    assert [item.name for item in draft(legacy, name="tool").parameters] == ["CACHE_OUT_DIR"]
    template = container(legacy)
    assert [(item["name"], item["mounted_path"]) for item in template["inputs"]] == [
        ("inputs", "/inputs"),
        ("mask", "/inputs-mask"),
    ]
    env = {item["name"]: item["value"] for item in template["env"]}
    assert (env["OPERATOR_IN_DIR"], env["MASK_IN_DIR"]) == ("dicom", "mask")
    assert env["LEGACY_INPUTS"] == "OPERATOR_IN_DIR=/inputs MASK_IN_DIR=/inputs-mask"
    assert (env["RUN_ID"], env["DAG_ID"]) == ("tool", "tool")
    assert "BATCHES_INPUT_DIR" not in env  # the adapter's own: two of them could differ


def test_what_can_not_be_read_is_told() -> None:
    legacy = look_at({"/go": "\0"}, entrypoint=("/go", "x.py"), user="1000:1000")
    assert legacy.unread == [
        "/go: neither a shell's script nor Python",
        "x.py: not found in the image",
    ]
    checks = "\n".join(draft(legacy, name="tool").checks)
    assert "No script could be read" in checks
    assert "runs as user `1000:1000`" in checks


def test_following_ends() -> None:
    names = [f"/s{number}.sh" for number in range(40)]
    files = {name: " ".join(["sh", *names, "/go.py", "huge.py"]) for name in names}
    legacy = look_at(files, entrypoint=("/s0.sh",))
    assert len(legacy.scripts) == 20
    assert "more scripts" in legacy.unread[-1]
    legacy = look_at({"/a.py": "#" * 2_000_000}, entrypoint=("/a.py",))
    assert legacy.unread == ["/a.py: too large to be read"]


def test_what_can_not_be_migrated() -> None:
    with pytest.raises(InputError, match="processing-container already"):
        look_at({"/processing-container.json": "{}"})
    with pytest.raises(InputError, match="neither an entrypoint nor a command"):
        look_at({}, entrypoint=())
    with pytest.raises(ImageFileNotFound, match="no /bin/sh"):
        asyncio.run(inspected(FakeImage("old:1", never)))


def test_the_example_adapts_the_draft(tmp_path: Path) -> None:
    legacy = look_at({}, entrypoint=("/go",))

    def told(folder: str) -> str:
        example = Example.of(tmp_path / folder, "--in")
        drafted = draft(legacy, name="tool", inputs=example, outputs=tmp_path / "out")
        task = json.loads(drafted.files["task.json"])
        assert task["inputs"][0]["volume_source"] == {"host_path": str(tmp_path / folder)}
        assert task["outputs"][0]["volume_source"] == {"host_path": str(tmp_path / "out")}
        return "\n".join(drafted.checks)

    for path in (
        "flat/a.dcm",
        "mixed/one/a.dcm",
        "mixed/meta.json",
        "old/x/dicom/1",
        "old/y/dicom/1",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "empty").mkdir()
    assert "one item named `item`" in told("flat")
    assert "files beside its items (1 and 1)" in told("mixed")
    assert "only the directory `dicom`" in told("old")
    assert "is empty" in told("empty")
    for name, what in (("none", "does not exist"), ("flat/a.dcm", "is not a directory")):
        with pytest.raises(InputError, match=what):
            Example.of(tmp_path / name, "--in")


def test_a_folder_is_written_whole_and_never_over_another(tmp_path: Path) -> None:
    drafted = draft(look_at({}, entrypoint=("/go",)), name="tool")
    folder = tmp_path / "new/tool"
    write(drafted, folder, "-o")
    assert {path.name for path in folder.iterdir()} == {
        "Dockerfile", "README.md", "legacy-adapter.sh", "processing-container.json", "task.json",
    }  # fmt: skip
    assert folder.stat().st_mode & 0o777 == 0o755
    assert "@" not in (folder / "README.md").read_text().replace("@sha256", "")
    with pytest.raises(InputError, match="holds something already"):
        write(drafted, folder, "-o")
    (tmp_path / "file").touch()
    for blocked in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(InputError):
            write(drafted, blocked, "-o")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "new"]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("tool", "tool"),
        ("registry:5000/group/Tool_2:1.0@sha256:ab", "tool_2"),
        ("sha256:" + "a" * 64, "sha256"),
        ("_", "legacy"),
    ],
)
def test_names(reference: str, name: str) -> None:
    assert default_name(reference) == name
