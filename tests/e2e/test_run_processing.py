"""Processing-containers as `lading run` runs them: the same on every engine."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import both_engines, every_engine
from tests.support import engines
from tests.support.command_line import Cli, failed
from tests.support.processing import Images, Tasks, running, volumes

MIB = 1 << 20


def channel(known: dict[str, Any], direction: str, name: str) -> dict[str, Any]:
    (found,) = [
        item for item in known["channels"] if (item["direction"], item["name"]) == (direction, name)
    ]
    return dict(found)


# Command and environment.


@every_engine
def test_the_command_replaces_the_entrypoint(lading: Cli, tasks: Tasks, images: Images) -> None:
    image = images("other:1", None, 'ENTRYPOINT ["/probe", "echo", "the image\'s"]', 'CMD ["own"]')
    tasks.image = image
    task = tasks("echo", "a b", "$HOME")
    assert lading("run", "-q", "--watch", task).stdout == b"a b $HOME\n"
    task = tasks("echo", "the template's", command=["/probe", "echo", "the task's"])
    assert lading("run", "-q", "--watch", task).stdout == b"the task's\n"
    task = tasks(template={"command": None})
    assert lading("run", "-q", "--watch", task).stdout == b"the image's own\n"


@every_engine
def test_the_exit_code_is_the_containers(lading: Cli, tasks: Tasks) -> None:
    for code in (0, 3, 137):
        done = lading("run", tasks("exit", str(code)))
        assert done.returncode == code, done.stderr
        assert done.stdout == b""
        assert (b"error: told ended with exit code" in done.stderr) is (code != 0)
    states = [(run["state"], run["exit_code"]) for run in lading.recorded()]
    assert states == [("failed", code) for code in (137, 3)] + [("succeeded", 0)]


@every_engine
def test_variables_come_from_image_template_task_and_flag(lading: Cli, tasks: Tasks) -> None:
    template = {
        "command": ["/probe", "env", "WHAT"],
        "env": [
            {"name": "WHAT", "value": "template", "type": "string", "description": "x"},
            {"name": "N", "value": "1", "type": "int"},
            {"name": "MODE", "value": "fast", "choices": ["fast", "slow"]},
        ],
    }
    assert lading("run", "-q", "--watch", tasks(template=template)).stdout == b"template\n"
    task = tasks(template=template, env=[{"name": "WHAT", "value": "{{ env.WHO }}"}])
    shown = Cli(lading.engine, lading.state, more={"WHO": "task"})("run", "-q", "--watch", task)
    assert shown.stdout == b"task\n", shown.stderr
    done = lading("run", "-q", "--watch", tasks(template=template), "--set", "WHAT=flag = x\n y")
    assert done.stdout == b"flag = x\n y\n"
    done = lading("run", tasks(template=template), "--set", "PROBE=from the image")
    assert done.returncode == 0
    done = lading("run", tasks(template=template), "--set", "WHAAT=x")
    assert done.returncode == 0
    assert b"no such variable, it is added; did you mean WHAT?" in done.stderr
    more = {**template, "command": ["/probe", "env", "EXTRA"]}
    done = lading("run", "-q", "--watch", tasks(template=more, env=[{"name": "EXTRA", "value": 7}]))
    assert done.stdout == b"7\n"


# Channels.


@every_engine
def test_inputs_can_only_be_read_and_outputs_be_written(
    lading: Cli, tasks: Tasks, tmp_path: Path
) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/a").write_text("what is given")
    at = {"inputs": {"data": tmp_path / "given"}, "outputs": {"made": tmp_path / "new/deep"}}
    assert (
        lading("run", "-q", "--watch", tasks("cat", "/in/data/a", **at)).stdout == b"what is given"
    )
    done = lading("run", "--watch", tasks("write", "/in/data/b", "x", **at))
    assert done.returncode == 70
    assert b"Read-only file system" in done.stdout + done.stderr, "a cluster keeps one stream"
    done = lading("run", tasks("write", "/out/made/b", "written", **at))
    assert done.returncode == 0, done.stderr
    made = tmp_path / "new/deep/b"
    assert made.read_text() == "written"
    assert {(p.stat().st_uid, p.stat().st_gid) for p in (made, *made.parents[:2])} == {
        (os.geteuid(), os.getegid())
    }
    assert f"made: 1 file, 7 B in {tmp_path}/new/deep".encode() in done.stderr
    assert [path.name for path in (tmp_path / "given").iterdir()] == ["a"]


@every_engine
def test_one_name_may_be_an_input_and_an_output(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a").write_text("12345")
    at = {"inputs": {"x": tmp_path / "one"}, "outputs": {"x": tmp_path / "two"}}
    known = lading.json("run", "-q", tasks("write", "/out/x/b", "1", **at))
    assert channel(known, "input", "x")["bytes"] == 5
    assert channel(known, "output", "x")["bytes"] == 1
    done = lading("run", tasks("cat", "/in/x/a", **at), "--output", f"x={tmp_path}/three")
    assert done.returncode == 0
    assert (tmp_path / "three").is_dir(), "the output was changed"
    known = lading.json("run", "-q", tasks("cat", "/in/x/b", **at), "--input", f"x={tmp_path}/two")
    assert channel(known, "input", "x")["path"] == f"{tmp_path}/two"


@every_engine
def test_one_directory_may_be_an_input_and_an_output(
    lading: Cli, tasks: Tasks, tmp_path: Path
) -> None:
    (tmp_path / "both").mkdir()
    (tmp_path / "both/a").write_text("a")
    at = {"inputs": {"in": tmp_path / "both"}, "outputs": {"out": tmp_path / "both"}}
    assert lading("run", tasks("write", "/out/out/b", "b", **at)).returncode == 0
    assert lading("run", "-q", "--watch", tasks("cat", "/in/in/b", **at)).stdout == b"b"
    assert lading("run", tasks("write", "/in/in/c", "c", **at)).returncode == 70


@both_engines
def test_paths_as_people_write_them(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "data").mkdir(parents=True)
    (home / "data/a").write_text("at home")
    (here / "in").mkdir(parents=True)
    (here / "in/a").write_text("here")
    (here / "link").symlink_to("in")
    cli = Cli(lading.engine, lading.state, folder=here, more={"HOME": str(home)})

    def read(path: str) -> bytes:
        return cli("run", "-q", "--watch", tasks("cat", "/in/x/a", inputs={"x": path})).stdout

    assert read("~/data") == b"at home"
    assert read("in") == read("./in/") == read("../here/in") == read("link") == b"here"
    done = cli("run", "-q", tasks("write", "/out/x/b", "b", outputs={"x": "made/by us"}))
    assert done.returncode == 0, done.stderr
    assert (here / "made/by us/b").read_text() == "b"
    (here / "target").mkdir()
    (here / "out").symlink_to("target")
    assert cli("run", tasks("write", "/out/x/b", "b", outputs={"x": "out"})).returncode == 0
    assert (here / "target/b").read_text() == "b"


@every_engine
def test_names_that_are_no_words(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    names = ("a b", "žluť ☃", "new\nline", "a:b:ro", "a,b=c", '"quoted" \'\\', "-o", "%41$HOME")
    for number, name in enumerate(names):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "a").write_bytes(b"x" * 2**number)
    inputs = {str(number): tmp_path / "in" / name for number, name in enumerate(names)}
    outputs = {str(number): tmp_path / "out" / name for number, name in enumerate(names)}
    task = tasks("hog-as", "/in", "0", inputs=inputs, outputs=outputs)
    done = lading("run", "-q", "--watch", task)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"255 bytes\n", b"")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    for number, name in ((2, names[2]), (3, names[3])):
        task = tasks("write", f"/out/x/{name}", "1", outputs={"x": outputs[str(number)]})
        known = lading.json("run", "-q", task, "--output", f"x={outputs[str(number)]}")
        assert (outputs[str(number)] / name).read_text() == "1"
        assert channel(known, "output", "x")["path"] == str(outputs[str(number)])
        assert lading.json("inspect", known["run"])["channels"] == known["channels"]


# Resources.


@both_engines
def test_limits_and_requests_are_the_containers(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    rule = {"scale_factor": 10, "type": "limit", "mode": "sum"}
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(b"x" * 10 * MIB)
    template = {
        "inputs": [{"name": "x", "mounted_path": "/in/x", "scale_rule": rule}],
        "resources": {
            "limits": {"memory": "32Mi", "cpu": "500m"},
            "requests": {"memory": "16Mi", "cpu": "250m"},
        },
    }
    task = tasks("sleep", "60", template=template, inputs={"x": tmp_path / "in"})
    with running(lading, task) as (process, found):
        host = found["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == 110 * MIB, "1.1 x 10 x 10 MiB"
        assert host["MemoryReservation"] == 16 * MIB
        assert host["CpuShares"] == 256
        cpus = host["NanoCpus"] / 1e9 or host["CpuQuota"] / host["CpuPeriod"]
        assert cpus == pytest.approx(0.5)
        assert host["PidsLimit"] > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    (run,) = lading.recorded()
    known = lading.json("inspect", run["run"])
    assert known["requirements"] == [
        {"channel": "x", "type": "limit", "size": 10 * MIB, "memory": 100 * MIB}
    ]
    assert (known["declared_memory"], known["memory_limit"]) == (32 * MIB, 110 * MIB)


@both_engines
@pytest.mark.parametrize(
    ("kind", "declared", "limit", "requested"),
    [
        ("limit", {"limits": {"memory": "200Mi"}}, 200, 0),
        ("request", {"limits": {"memory": "200Mi"}}, 200, 110),
        ("request", {"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}}, 110, 110),
    ],
)
def test_a_scale_rule_raises_what_it_says(
    lading: Cli, tasks: Tasks, tmp_path: Path, kind: str, declared: Any, limit: int, requested: int
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(b"x" * 10 * MIB)
    rule = {"complexity": "10*n", "type": kind, "mode": "max_file_size", "target_glob": "a"}
    given = [{**volumes({"x": tmp_path / "in"})[0], "scale_rule": rule}]
    task = tasks("sleep", "60", inputs={"x": "in"}, template={"resources": declared})
    content = {**json.loads(Path(task).read_text()), "inputs": given}
    with running(lading, tasks.write(content)) as (process, found):
        assert found["HostConfig"]["Memory"] == limit * MIB
        assert found["HostConfig"]["MemoryReservation"] == requested * MIB
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@every_engine
@pytest.mark.parametrize(
    ("template", "task", "flags", "memory"),
    [
        ({"limits": {"memory": "64Mi"}}, None, (), 64),
        ({"limits": {"memory": "64Mi", "cpu": "1"}}, {"limits": {"memory": "96Mi"}}, (), 96),
        ({"requests": {"memory": "8Mi"}}, {}, (), None),
        (None, {"limits": None, "requests": None}, (), None),
        ({"limits": {"memory": "64Mi"}}, None, ("--memory", "48Mi", "--cpu", "250m"), 48),
    ],
)
def test_resources_of_task_template_and_flags(
    lading: Cli, tasks: Tasks, template: Any, task: Any, flags: tuple[str, ...], memory: int | None
) -> None:
    more = {} if task is None else {"resources": task}
    file = tasks("exit", "0", template={"resources": template}, **more)
    known = lading.json("run", "-q", file, *flags)
    assert known["memory_limit"] == (memory * MIB if memory else None)
    assert known["cpus"] == (0.25 if flags else 1 if memory == 96 else None)


# Labels and images.


@both_engines
def test_labels_of_the_config_are_the_containers_and_ours_stay(lading: Cli, tasks: Tasks) -> None:
    labels = {
        "kaapana.ai/type": "processing-container",
        "lading.owner": "somebody",
        "lading.run": "another",
        "lading.lock": "/tmp/none",
        "lading.contract": "none",
    }
    task = tasks("sleep", "60", config={"type": "docker", "labels": labels})
    with running(lading, task) as (process, found):
        carried = found["Config"]["Labels"]
        assert carried["kaapana.ai/type"] == "processing-container"
        assert carried["lading.contract"] == "processing"
        assert carried["lading.lock"].startswith(str(lading.state))
        assert carried["lading.owner"] in carried["lading.lock"]
        assert lading.running()["run"] == carried["lading.run"]
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@both_engines
def test_a_template_of_an_image_is_run_without_a_file(
    lading: Cli, images: Images, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_text("read")
    image = images.container(
        {
            "identifier": "read",
            "inputs": [{"name": "data", "mounted_path": "/data/in"}],
            "command": ["/probe", "cat", "/data/in/a"],
        },
        {
            "identifier": "write",
            "outputs": [{"name": "data", "mounted_path": "/data/out"}],
            "env": [{"name": "X", "value": "1"}],
            "command": ["/probe", "write", "/data/out/b", "done"],
            "resources": {"limits": {"memory": "64Mi"}},
        },
    )
    at = f"data={tmp_path}/in"
    done = lading("run", image, "--template", "read", "--input", at, "--watch", "-q")
    assert (done.stdout, done.stderr) == (b"read", b"")
    known = lading.json("run", image, "--template", "write", "-o", f"data={tmp_path}/out", "-q")
    assert (tmp_path / "out/b").read_text() == "done"
    assert (known["template"], known["task"]) == ("write", "write")
    assert (known["image"], known["image_id"]) == (image, images.id())
    assert known["memory_limit"] == 64 * MIB
    failed(lading("run", image, "--input", at), 2, "has several: read, write")
    failed(
        lading("run", image, "--template", "write", "-o", "date=/tmp"),
        2,
        "the template has no output channel 'date'",
        "it has: data",
    )
    done = lading("run", images.id(), "--template", "read", "--input", at, "--watch", "-q")
    assert done.stdout == b"read", done.stderr


@both_engines
def test_a_template_is_of_the_image_and_not_of_its_tag(lading: Cli, images: Images) -> None:
    def says(words: str) -> str:
        one = {"identifier": "say", "command": ["/probe", "echo", words]}
        return images.container(one, name="moves:1")

    image = says("first")
    assert lading("run", image, "--template", "say", "-q", "--watch").stdout == b"first\n"
    first = images.id()
    assert says("second") == image
    assert images.id() != first
    done = lading("run", image, "--template", "say", "-q", "--watch")
    assert done.stdout == b"second\n", "the kept file is the other image's"
    done = lading("run", first, "--template", "say", "-q", "--watch")
    assert done.stdout == b"first\n", done.stderr
    second, of_first, *_ = [
        lading.json("inspect", run["run"])["image_id"] for run in lading.recorded()[1::-1]
    ]
    assert (second, of_first) == (images.id(), first)


@both_engines
def test_a_container_is_sealed_but_works_with_files_of_others(
    lading: Cli, tasks: Tasks, tmp_path: Path
) -> None:
    shown = lading("run", "-q", "--watch", tasks("caps")).stdout.decode()
    assert "NoNewPrivs:\t1" in shown
    effective = int(shown.split("CapEff:\t")[1].split()[0], 16)
    assert effective == sum(1 << n for n in (0, 1, 3, 4, 5, 6, 7)), "files of others, and no more"
    shown = lading("run", "-q", "--watch", "--capabilities", tasks("caps")).stdout.decode()
    assert int(shown.split("CapEff:\t")[1].split()[0], 16) > effective
    assert lading("run", "--no-network", tasks("connect", "10.255.255.1", "80")).returncode == 7
    if os.geteuid() == 0:
        (tmp_path / "theirs").mkdir(mode=0o700)
        os.chown(tmp_path / "theirs", 4321, 4321)
        task = tasks("write", "/out/x/a", "1", outputs={"x": tmp_path / "theirs"})
        assert lading("run", task).returncode == 0
        assert (tmp_path / "theirs").stat().st_uid == 4321, "it is not ours to give"


@both_engines
def test_a_hundred_thousand_files(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    given = tmp_path / "in"
    for number in range(100):
        (given / f"item-{number}").mkdir(parents=True)
        for other in range(1000):
            os.close(os.open(given / f"item-{number}/{other}.dcm", os.O_CREAT | os.O_WRONLY, 0o644))
    (given / "item-7/big.dcm").write_bytes(b"x" * MIB)
    rule = {"scale_factor": 100, "mode": "max_item_sum", "target_regex": r".*\.dcm"}
    template = {"inputs": [{"name": "x", "mounted_path": "/in/x", "scale_rule": rule}]}
    known = lading.json("run", "-q", tasks("exit", "0", template=template, inputs={"x": given}))
    assert channel(known, "input", "x")["files"] == 100_001
    assert known["memory_limit"] == 110 * MIB
    run = lading.json("inspect", known["run"])
    print("from the order to the end:", run["created"], run["started"], run["finished"])


@both_engines
def test_what_runs_is_listed_and_stopped(lading: Cli, tasks: Tasks) -> None:
    with running(lading, tasks("sleep", "60")) as (process, _):
        run = lading.running()
        assert (run["contract"], run["task"], run["state"]) == ("processing", "told", "running")
        done = lading("stop", run["run"], "--grace", "1")
        assert done.returncode == 0, done.stderr
        assert process.wait(30) == 143
        assert b"stopped by hand" in process.stderr.read()
    assert lading.json("inspect", run["run"])["state"] == "cancelled"
    assert engines.call(lading.engine, "GET", f"/containers/{run['container']}/json")[0] == 404
