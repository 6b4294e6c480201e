"""Every name that other programs import: it is ours, and takes what the original's takes."""

from __future__ import annotations

import enum
import importlib
import inspect
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.support.printed import ROOT

from task_api.cli import Modes, Schema
from task_api.processing_container.pc_models import ScaleRuleMode, ScaleRuleType
from task_api.runners.base import BaseRunner
from task_api.runners.DockerRunner import DockerRunner
from task_api.runners.KubernetesRunner import KubernetesRunner, PodPhase

NAMES = {
    "task_api.processing_container.pc_models": {
        "lading.contracts.processing.template": "BaseEnv TaskTemplateEnv Resources ScaleRule "
        "ScaleRuleType ScaleRuleMode IOBase IOMount BaseTask TaskTemplate ProcessingContainer"
    },
    "task_api.processing_container.task_models": {
        "lading.contracts.processing.task": "HostPathVolume IOVolume IOChannel BaseConfig "
        "DockerConfig K8sConfig Task TaskInstance TaskRun"
    },
    "task_api.processing_container.common": {
        "lading.contracts.processing.original.reading": "parse_task parse_processing_container "
        "create_task_instance merge_env merge_io_channels get_task_template "
        "get_processing_container"
    },
    "task_api.processing_container.resources": {
        "lading.contracts.processing.original.sizes": "compute_target_size sum_of_file_sizes "
        "max_file_size human_readable_size calculate_bytes compute_memory_requirement "
        "compute_memory_resources"
    },
    "task_api.processing_container.create_json_schema": {
        "lading.contracts.processing.original.schema_files": "processing_container_schema "
        "task_schema write_schemas"
    },
    "task_api.runners.base": {"lading.contracts.processing.original.runner": "BaseRunner"},
    "task_api.runners.DockerRunner": {"lading.contracts.processing.original.local": "DockerRunner"},
    "task_api.runners.KubernetesRunner": {
        "lading.contracts.processing.original.cluster": "KubernetesRunner PodPhase "
        "generate_pod_name"
    },
    "task_api.cli": {
        "lading.cli.original": "app run logs check_task_run validate processing_container Modes "
        "Schema monitor_container_memory logger"
    },
}
PAIRS = [
    (module, ours, name)
    for module, groups in NAMES.items()
    for ours, names in groups.items()
    for name in names.split()
]
OPERATORS = ["task_api_operator", "task_api_operators"]
SIGNATURES = {
    "processing_container.common.parse_task": "file custom_vars={}",
    "processing_container.common.parse_processing_container": "file custom_vars={}",
    "processing_container.common.create_task_instance": "task_template task",
    "processing_container.common.merge_env": "orig_envs update_envs",
    "processing_container.common.merge_io_channels": "mounts volumes",
    "processing_container.common.get_task_template": "image task_identifier mode='docker' "
    "registry_secret=None namespace=None",
    "processing_container.common.get_processing_container": "image mode='docker' "
    "namespace='services' registry_secret='registry-secret'",
    "processing_container.resources.compute_target_size": "io",
    "processing_container.resources.sum_of_file_sizes": "target_path target_glob='*' "
    "target_regex='.*'",
    "processing_container.resources.max_file_size": "target_path target_glob='*' target_regex='.*'",
    "processing_container.resources.human_readable_size": "size suffix=''",
    "processing_container.resources.calculate_bytes": "size",
    "processing_container.resources.compute_memory_requirement": "io",
    "processing_container.resources.compute_memory_resources": "task_instance",
    "runners.base.BaseRunner.set_logger": "logger",
    "runners.base.BaseRunner.dump": "task_run output=None",
    "runners.DockerRunner.DockerRunner.run": "task",
    "runners.DockerRunner.DockerRunner.logs": "task_run follow=False startup_timeout=30 "
    "log_timeout=None",  # 3600 there, and without any effect
    "runners.DockerRunner.DockerRunner.stop": "task_run",
    "runners.DockerRunner.DockerRunner.check_status": "task_run follow=False",
    "runners.DockerRunner.DockerRunner.monitor_memory": "task_run",
    "runners.KubernetesRunner.KubernetesRunner.run": "task dry_run=False",
    "runners.KubernetesRunner.KubernetesRunner.logs": "task_run follow=True startup_timeout=30 "
    "log_timeout=3600",
    "runners.KubernetesRunner.KubernetesRunner.stop": "task_run",
    "runners.KubernetesRunner.KubernetesRunner.get_image_pull_secrets": "task",
    "runners.KubernetesRunner.KubernetesRunner.create_image_pull_secret": "task secret_name",
    "runners.KubernetesRunner.generate_pod_name": "base_name",
    "cli.run": "input mode=<Modes.docker: 'docker'> watch=False output=None monitor_memory=False",
    "cli.logs": "task watch=False",
    "cli.check_task_run": "task_run watch=True",
    "cli.validate": "input schema=<Schema.task: 'task'>",
    "cli.processing_container": "image mode=<Modes.docker: 'docker'>",
    "cli.monitor_container_memory": "task_run",
}


@pytest.mark.parametrize(("module", "ours", "name"), PAIRS)
def test_a_name_is_ours(module: str, ours: str, name: str) -> None:
    theirs = getattr(importlib.import_module(module), name)
    assert theirs is getattr(importlib.import_module(ours), name)


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_signature(path: str) -> None:
    parts = path.split(".")
    split = next(at for at, part in enumerate(parts) if part[0].isupper() or at == len(parts) - 1)
    if parts[0] == "runners":
        split = 2
    found = importlib.import_module(".".join(["task_api", *parts[:split]]))
    for part in parts[split:]:
        found = getattr(found, part)
    assert callable(found)
    parameters = inspect.signature(found).parameters.values()
    none = inspect.Parameter.empty
    shown = " ".join(
        item.name + ("" if item.default is none else f"={item.default!r}") for item in parameters
    )
    assert shown == SIGNATURES[path]


def test_enumerations() -> None:
    def texts(kind: type[enum.Enum]) -> dict[str, str]:
        return {item.name: item.value for item in kind}

    assert texts(Modes) == {"docker": "docker", "kubernetes": "k8s"}
    assert texts(Schema) == {"task": "task", "processing_container": "pc"}
    assert texts(ScaleRuleType) == {"limit": "limit", "request": "request"}
    assert texts(ScaleRuleMode) == {name: name for name in ("sum", "max_file_size", "max_item_sum")}
    assert texts(PodPhase) == {
        name.upper(): name for name in ("Pending", "Running", "Succeeded", "Failed", "Unknown")
    }
    succeeded: object = "Succeeded"
    assert succeeded == PodPhase.SUCCEEDED


def test_each_runner_has_its_own_logger() -> None:
    names = [runner._logger.name for runner in (BaseRunner, DockerRunner, KubernetesRunner)]
    assert names == [
        "task_api.runners.base.BaseRunner",
        "task_api.runners.DockerRunner.DockerRunner",
        "task_api.runners.KubernetesRunner.KubernetesRunner",
    ]

    class Mine(DockerRunner):
        pass

    assert Mine._logger.name.endswith(".Mine")
    Mine.set_logger(logging.getLogger("another"))
    assert (Mine._logger.name, DockerRunner._logger.name) == ("another", names[1])


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    """No file is written, no variable set, no engine or cluster asked, and no client loaded."""
    (tmp_path / ".env").write_text("LT_IMPORTED=1\n")
    code = (
        "import os, sys, importlib\n"
        f"for name in {list(NAMES)!r}: importlib.import_module(name)\n"
        "assert 'LT_IMPORTED' not in os.environ\n"
        "print(sorted({'kubernetes', 'docker', 'dotenv', 'jsonschema'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"DOCKER_HOST": "unix:///none"},
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert [item.name for item in tmp_path.iterdir()] == [".env"]


def test_the_script_that_writes_schemas(tmp_path: Path) -> None:
    name = "task_api.processing_container.create_json_schema"
    subprocess.run([sys.executable, "-m", name], check=True, cwd=tmp_path)
    names = sorted(item.name for item in tmp_path.iterdir())
    assert names == ["ProcessingContainer.schema.json", "Task.schema.json"]


@pytest.mark.slow
def test_the_wheel(tmp_path: Path) -> None:
    """What is published has all names, not only the tree."""
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT / "compat"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("lading_compat-*.whl")
    modules = [*NAMES, "task_api", "task_api.runners", "task_api.processing_container"]
    modules += OPERATORS  # what is in them needs Airflow: tests/airflow
    code = (
        "import importlib\n"
        f"for name in {modules!r}:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(wheel)!r}), name\n"
        f"for module, ours, name in {PAIRS!r}:\n"
        "    assert getattr(importlib.import_module(module), name) is "
        "getattr(importlib.import_module(ours), name)\n"
    )
    env = {"PYTHONPATH": str(wheel)}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env=env)
    version = "import importlib.metadata as m; print(m.requires('lading-compat'))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", version], check=True, env=env, capture_output=True, text=True
    )
    extras = [f"\"lading[{one}]<0.2,>=0.1; extra == '{one}'\"" for one in ("airflow", "golem")]
    assert done.stdout == f"['lading<0.2,>=0.1', {', '.join(extras)}]\n"
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"{package}/KaapanaTaskOperator.py" for package in OPERATORS} <= set(names)
