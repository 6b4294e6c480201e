"""Files, merging and sizes by the original's functions; its defects are not there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from lading.errors import ConfigError, FileInvalid, InputError, NotSupported
from task_api.processing_container import common, pc_models, resources, task_models
from task_api.runners.KubernetesRunner import KubernetesRunner, generate_pod_name

MIB = 1 << 20


def a_template(**values: Any) -> pc_models.TaskTemplate:
    known = {"identifier": "t", "description": "d", "inputs": [], "outputs": [], "env": []}
    return pc_models.TaskTemplate(**(known | values))


def a_task(**values: Any) -> task_models.Task:
    return task_models.Task(**({"name": "n", "image": "i:1", "taskTemplate": "t"} | values))


def volume(path: object, **values: Any) -> task_models.IOVolume:
    source = task_models.HostPathVolume(host_path=str(path))
    known: dict[str, Any] = {"name": "in", "volume_source": source}
    return task_models.IOVolume(**(known | values))


def rule(**values: Any) -> pc_models.ScaleRule:
    known: dict[str, Any] = {"scale_factor": 2, "type": "limit", "mode": "sum"}
    return pc_models.ScaleRule(**(known | values))


# Reading.


def test_a_task_is_rendered_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/data")
    path = tmp_path / "task.json"
    path.write_text(
        json.dumps(
            {
                "name": "{{ custom.name }}",
                "image": "i:1",
                "taskTemplate": "t",
                "inputs": [{"name": "in", "input": {"host_path": "{{ env.WHERE }}/in"}}],
            }
        )
    )
    for file in (path, str(path)):
        task = common.parse_task(file, {"name": "a"})
        assert (task.name, task.inputs[0].host_path) == ("a", "/data/in")
    assert common.parse_task(file=path, custom_vars={"name": "b"}).name == "b"


def test_what_is_wrong_is_raised_as_callers_expect_it(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        common.parse_task(path)
    path.write_text('{\n "name": "n",\n "image": "i:1"\n}')
    with pytest.raises(ValidationError) as broken:
        common.parse_task(path)
    assert f"{path}:1:1: taskTemplate: is missing" in broken.value.__notes__[0]
    path.write_text('{"name": "n",\n')
    with pytest.raises(ValueError, match=r"task\.json:2:1: no valid JSON") as invalid:
        common.parse_task(path)
    assert isinstance(invalid.value, FileInvalid)
    path.write_text('{"name": "{{ env.NOT_SET_HERE }}"}')
    with pytest.raises(ValueError, match="NOT_SET_HERE"):
        common.parse_task(path)
    path.write_text('["no object"]')
    with pytest.raises(ValueError, match="must be a JSON object"):
        common.parse_processing_container(path)
    with pytest.raises(ValueError, match="can't be read: Is a directory"):
        common.parse_processing_container(tmp_path)


def test_a_container_is_read(tmp_path: Path) -> None:
    path = tmp_path / "processing-container.json"
    template = a_template().model_dump(mode="json")
    path.write_text(json.dumps({"name": "c", "description": "d", "templates": [template]}))
    assert common.parse_processing_container(path).templates[0].identifier == "t"


# Merging.


def test_variables_are_merged_by_name() -> None:
    theirs = [
        pc_models.TaskTemplateEnv(name="A", value="1", description="of A", choices=["1", "2"]),
        pc_models.TaskTemplateEnv(name="B", value="1"),
    ]
    merged = common.merge_env(
        theirs, [pc_models.BaseEnv(name="C", value="3"), pc_models.BaseEnv(name="A", value="2")]
    )
    assert [(item.name, item.value) for item in merged] == [("A", "2"), ("B", "1"), ("C", "3")]
    assert (merged[0].description, merged[0].choices) == ("of A", ["1", "2"])


def test_a_channel_without_a_volume_is_named() -> None:
    """The original left it out, and the container found nothing there."""
    mount = pc_models.IOMount(name="model", mounted_path="/model")
    with pytest.raises(InputError, match="'model' has no volume"):
        common.merge_io_channels([mount], [])
    with pytest.raises(InputError, match="output channel 'model' has no volume"):
        common.create_task_instance(a_template(outputs=[mount]), a_task())
    (merged,) = common.merge_io_channels([mount], [volume("/m", name="model")])
    assert (merged.mounted_path, merged.host_path) == ("/model", "/m")


def test_one_name_in_inputs_and_outputs() -> None:
    """In the original these two met in one volume on a cluster, and its outputs were read-only."""
    instance = common.create_task_instance(
        a_template(
            inputs=[pc_models.IOMount(name="nrrd", mounted_path="/in")],
            outputs=[pc_models.IOMount(name="nrrd", mounted_path="/out")],
        ),
        a_task(inputs=[volume("/a", name="nrrd")], outputs=[volume("/b", name="nrrd")]),
    )
    assert [item.host_path for item in (*instance.inputs, *instance.outputs)] == ["/a", "/b"]
    assert instance.outputs[0].mounted_path == "/out"


def test_what_the_task_leaves_out_is_the_templates() -> None:
    limits = pc_models.Resources(limits={"memory": "1Gi", "cpu": "2"}, requests={"memory": "1Gi"})
    template = a_template(command=["a"], resources=limits)
    task = a_task(resources=pc_models.Resources(limits={"memory": "2Gi"}))
    instance = common.create_task_instance(template, task)
    assert instance.resources is not None
    assert instance.resources.limits == {"memory": "2Gi", "cpu": "2"}
    assert instance.resources.requests == {"memory": "1Gi"}
    assert (instance.command, instance.identifier, instance.taskTemplate) == (["a"], "t", "t")


# Sizes.


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0B"), (1536, "1.5Ki"), (MIB, "1.0Mi"), (123456789, "117.7Mi"), (1023.99, "1024.0B"),
     (-2048, "-2.0Ki"), (2**80, "1.0Yi"), (2**95, "32768.0Yi")],
)  # fmt: skip
def test_a_size_for_people(size: float, text: str) -> None:
    assert resources.human_readable_size(size) == text
    assert resources.calculate_bytes(text) == pytest.approx(size, rel=0.1)
    assert resources.human_readable_size(2048, "B") == "2.0KiB"


@pytest.mark.parametrize(("text", "size"), [("1.5Gi", 1.5 * 2**30), ("1G", 1e9), ("100", 100.0)])
def test_a_size_is_read(text: str, size: float) -> None:
    assert resources.calculate_bytes(text) == size
    assert isinstance(resources.calculate_bytes(text), float)


@pytest.mark.parametrize("text", ["1gi", "Gi", "", "5Xi"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|unit"):
        resources.calculate_bytes(text)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Two items and a loose file."""
    for name, size in (("a/1.dcm", 10), ("a/2.dcm", 20), ("b/1.dcm", 25), ("b/x.txt", 7), ("c", 1)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
    os.mkfifo(tmp_path / "a" / "pipe")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    return tmp_path


def test_sizes_of_channels(series: Path) -> None:
    assert resources.sum_of_file_sizes(series) == 63
    assert resources.sum_of_file_sizes(series, "*.dcm") == 55
    assert resources.sum_of_file_sizes(series, target_regex=r"a/.*") == 30
    assert resources.max_file_size(series, "*.dcm") == 25
    assert resources.max_file_size(series / "none") == 0
    one = volume(series, scale_rule=rule(mode="max_item_sum", target_glob="*.dcm"))
    assert resources.compute_target_size(one) == 30
    assert resources.compute_memory_requirement(io=one) == 60
    with pytest.raises(AssertionError):
        resources.compute_target_size(volume(series))
    empty = volume(series / "none", scale_rule=rule(mode="max_item_sum"))
    assert resources.compute_target_size(empty) == 0


def an_instance(path: Path, given: pc_models.Resources | None, **of_rule: Any) -> Any:
    mount = pc_models.IOMount(name="in", mounted_path="/in", scale_rule=rule(**of_rule))
    template = a_template(inputs=[mount], resources=given)
    return common.create_task_instance(template, a_task(inputs=[volume(path)]))


@pytest.mark.parametrize(
    ("given", "limits", "requests"),
    [
        (None, {"memory": "22Mi"}, {}),
        ({"limits": {"memory": "1Gi"}}, {"memory": "1Gi"}, {}),
        ({"limits": {"memory": "10Mi", "cpu": "1"}}, {"memory": "22Mi", "cpu": "1"}, {}),
        ({"requests": {"memory": "1Gi"}}, {"memory": "22Mi"}, {"memory": "1Gi"}),
        ({"limits": {}, "requests": {"cpu": None}}, {"memory": "22Mi"}, {}),
    ],
)
def test_rules_raise_limits(
    tmp_path: Path, given: Any, limits: dict[str, str], requests: dict[str, str]
) -> None:
    """In the original rules had no effect on a cluster, and half of these crashed."""
    (tmp_path / "f").write_bytes(bytes(10 * MIB))
    instance = an_instance(tmp_path, pc_models.Resources(**given) if given is not None else None)
    found = resources.compute_memory_resources(instance)
    assert (found.limits, found.requests) == (limits, requests)
    if given is not None:
        assert found is instance.resources


def test_rules_raise_requests(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(10 * MIB))
    instance = an_instance(tmp_path, None, type="request", scale_factor=1.5)
    found = resources.compute_memory_resources(instance)
    assert (found.limits, found.requests) == ({}, {"memory": "17Mi"})


# Clusters.


@pytest.mark.parametrize(
    ("name", "pod"),
    [
        ("_A b.c_", "a-b.c"),
        ("___", ""),
        ("a..b", "a..b"),
        ("a" * 63, "a" * 62),
        ("a" * 61 + "-b", "a" * 61),
        (
            "manual__2025-01-01T00:00:00+00:00-my_task",
            "manual--2025-01-01t00-00-00-00-00-my-task",
        ),
    ],
)
def test_names_of_pods(name: str, pod: str) -> None:
    assert generate_pod_name(name) == pod


def test_secrets_of_a_cluster() -> None:
    config: dict[str, Any] = {"type": "k8s", "namespace": "n", "imagePullSecrets": ["a", "b"]}
    found = KubernetesRunner.get_image_pull_secrets(a_task(config=config))
    assert [item.name for item in found] == ["a", "b"]
    some = {**config, "registryUrl": "r.example", "registryUsername": "u"}
    with pytest.raises(InputError, match="has no registryPassword"):
        KubernetesRunner.get_image_pull_secrets(a_task(config=some))
    whole = {**some, "registryPassword": "p"}  # whose secret goes with the pod
    assert KubernetesRunner.get_image_pull_secrets(a_task(config=whole)) == found
    with pytest.raises(InputError, match="has none for a cluster"):
        KubernetesRunner.run(a_task(config={"type": "docker"}))


def test_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("LADING_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    task = a_task(config={"type": "k8s"})
    run = task_models.TaskRun(
        **common.create_task_instance(a_template(), task).model_dump(), id="pod", mode="k8s"
    )
    for call in (
        lambda: KubernetesRunner.run(task, dry_run=True),
        lambda: KubernetesRunner.logs(run, follow=True),
        lambda: KubernetesRunner.stop(task_run=run),
        lambda: KubernetesRunner.wait_for_task_status(run, states=[], timeout=5),
        lambda: common.get_task_template("i:1", "t", mode="k8s"),
    ):
        with pytest.raises(ConfigError, match="KUBECONFIG"):
            call()


class CoreV1:
    """Stands for the Kubernetes client for Python."""

    made: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def create_namespaced_secret(self, namespace: str, body: dict[str, Any]) -> None:
        self.made.append((namespace, body))


def test_a_secret_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    login = {"registryUrl": "r.example", "registryUsername": "u", "registryPassword": "p"}
    task = a_task(config={"type": "k8s", "namespace": "n", **login})
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(NotSupported, match="create_namespaced_secret is of the Kubernetes client"):
        KubernetesRunner.create_image_pull_secret(task, "mine")
    client = SimpleNamespace(
        client=SimpleNamespace(CoreV1Api=CoreV1), config=SimpleNamespace(load_config=lambda: None)
    )
    monkeypatch.setitem(sys.modules, "kubernetes", client)
    assert KubernetesRunner.create_image_pull_secret(task, "mine").name == "mine"
    ((namespace, secret),) = CoreV1.made
    assert (namespace, secret["metadata"]["name"]) == ("n", "mine")
    auths = json.loads(secret["stringData"][".dockerconfigjson"])["auths"]
    assert auths == {"r.example": {"username": "u", "password": "p"}}
    with pytest.raises(InputError, match="has no credentials"):
        KubernetesRunner.create_image_pull_secret(a_task(config={"type": "k8s"}), "mine")


def test_a_mode_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"'docker', 'k8s'"):
        common.get_processing_container("i:1", mode="podman")
