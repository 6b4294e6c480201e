"""Every name of `golem_task_api` that applications import: it is ours, and takes the same."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import logging
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from packaging.requirements import Requirement
from setuptools import Distribution
from tests.support.printed import ROOT

import golem_task_api as api
from golem_task_api import ssl
from golem_task_api.apputils import start_logging
from golem_task_api.apputils.app_definition import (
    AppDefinitionBase,
    BuildAppDefCommand,
    save_app_to_json_file,
)
from golem_task_api.entrypoint import entrypoint as called
from lading.contracts.golem.tls import make_certificates
from lading.errors import FileInvalid, FileMissing

GOLEM = "lading.contracts.golem"
_CALLS = (
    "CreateTask NextSubtask Compute Verify DiscardSubtasks RunBenchmark HasPendingSubtasks "
    "AbortTask AbortSubtask Shutdown"
)
_MESSAGES = " ".join(f"{call}{kind}" for call in _CALLS.split() for kind in ("Request", "Reply"))
_CLIENTS = "RequestorAppClient ProviderAppClient"
_HANDLERS = "AppLifecycleHandler ProviderAppHandler RequestorAppHandler"
# theirs: {ours: names}; "a=b": a there is b here.
NAMES = {
    "golem_task_api": {
        f"{GOLEM}.handlers": _HANDLERS,
        f"{GOLEM}.original.clients": _CLIENTS,
        f"{GOLEM}.original.services": "TaskApiService",
        f"{GOLEM}.entrypoint": "main",
    },
    "golem_task_api.handlers": {f"{GOLEM}.handlers": _HANDLERS},
    "golem_task_api.client": {
        f"{GOLEM}.original.clients": f"AppClient {_CLIENTS}",
        f"{GOLEM}.original.services": "TaskApiService ShutdownException",
        "lading.errors": "ShutdownException=AppShutDown",
    },
    "golem_task_api.server": {
        f"{GOLEM}.original.servers": "AppServer RequestorAppServer ProviderAppServer"
    },
    "golem_task_api.constants": {
        f"{GOLEM}.constants": "TASK_INPUTS_DIR TASK_OUTPUTS_DIR SUBTASK_INPUTS_DIR "
        "SUBTASK_OUTPUTS_DIR WORK_DIR"
    },
    "golem_task_api.threading": {f"{GOLEM}.blocking": "Executor"},
    "golem_task_api.entrypoint": {f"{GOLEM}.entrypoint": "main entrypoint=main"},
    "golem_task_api.enums": {f"{GOLEM}.structs": "VerifyResult"},
    "golem_task_api.structs": {f"{GOLEM}.structs": "Task Subtask Infrastructure"},
    "golem_task_api.dirutils": {
        f"{GOLEM}.directories": "RequestorDir RequestorTaskDir ProviderDir ProviderTaskDir"
    },
    "golem_task_api.envs": {
        f"{GOLEM}.environments": "DOCKER_CPU_ENV_ID DOCKER_GPU_ENV_ID create_docker_cpu_task "
        "create_docker_gpu_task"
    },
    "golem_task_api.envs.constants": {f"{GOLEM}.constants": "DOCKER_CPU_ENV_ID DOCKER_GPU_ENV_ID"},
    "golem_task_api.messages": {
        f"{GOLEM}.proto.golem_task_api_pb2": f"{_MESSAGES} Infrastructure SubtaskReply"
    },
    "golem_task_api.ssl": {
        f"{GOLEM}.original.certificates": "create_client_ssl_context create_server_ssl_context",
        f"{GOLEM}.constants": "SERVER_KEY_FILE_NAME=SERVER_KEY_FILE "
        "SERVER_CERT_FILE_NAME=SERVER_CERT_FILE CLIENT_KEY_FILE_NAME=CLIENT_KEY_FILE "
        "CLIENT_CERT_FILE_NAME=CLIENT_CERT_FILE",
    },
    "golem_task_api.proto": {},
    "golem_task_api.proto.golem_task_api_pb2": {
        f"{GOLEM}.proto.golem_task_api_pb2": f"{_MESSAGES} Infrastructure SubtaskReply DESCRIPTOR"
    },
    "golem_task_api.proto.constants_pb2": {f"{GOLEM}.proto.constants_pb2": "DESCRIPTOR"},
    "golem_task_api.proto.envs_pb2": {f"{GOLEM}.proto.envs_pb2": "DESCRIPTOR DockerPrerequisites"},
    "golem_task_api.apputils": {},
    "golem_task_api.apputils.task": {f"{GOLEM}.subtasks": "SubtaskStatus TaskManager"},
    "golem_task_api.apputils.task.database": {
        f"{GOLEM}.subtasks.database": "DBTaskManager Part Subtask"
    },
    "golem_task_api.apputils.database": {f"{GOLEM}.subtasks.connections": "database=current"},
    "golem_task_api.apputils.database.fields": {f"{GOLEM}.subtasks.database": "EnumField"},
    "golem_task_api.apputils.start_logging": {
        f"{GOLEM}.original.logging_levels": "from_arg DEFAULT_LEVEL DEFAULT_EXTERNAL_LOGGERS "
        "LOG_LEVEL_VALUES"
    },
    "golem_task_api.apputils.app_definition": {
        f"{GOLEM}.appdefs": "AppDefinitionBase=AppDefinition",
        f"{GOLEM}.original.building": "BuildAppDefCommand save_app_to_json_file",
    },
    "golem_task_api.testutils": {
        f"{GOLEM}.original.inline": "InlineTaskApiService",
        f"{GOLEM}.original.simulation": "TaskLifecycleUtil",
    },
    "golem_task_api.testutils.inlinetaskapiservice": {
        f"{GOLEM}.original.inline": "InlineTaskApiService"
    },
    "golem_task_api.testutils.tasklifecycleutil": {
        f"{GOLEM}.original.simulation": "TaskLifecycleUtil"
    },
    "golem_task_api.testutils.dockertaskapiservice": {
        f"{GOLEM}.original.containers": "DockerTaskApiService is_docker_available"
    },
}
PAIRS = [
    (module, ours, *(name.split("=") * 2)[:2])
    for module, groups in NAMES.items()
    for ours, names in groups.items()
    for name in names.split()
]
MODULES = [
    *("constants", "threading", "entrypoint", "enums", "structs", "dirutils", "envs", "client"),
    *("server", "messages", "ssl", "proto", "handlers", "apputils", "testutils"),
]
SIGNATURES = {
    "main": "work_dir argv requestor_handler=None requestor_lifecycle_handler=None "
    "provider_handler=None provider_lifecycle_handler=None",
    "RequestorAppHandler.create_task": "self task_work_dir max_subtasks_count task_params",
    "RequestorAppHandler.next_subtask": "self task_work_dir subtask_id opaque_node_id",
    "RequestorAppHandler.verify": "self task_work_dir subtask_id",
    "RequestorAppHandler.discard_subtasks": "self task_work_dir subtask_ids",
    "RequestorAppHandler.run_benchmark": "self work_dir",
    "RequestorAppHandler.has_pending_subtasks": "self task_work_dir",
    "RequestorAppHandler.abort_task": "self task_work_dir",
    "RequestorAppHandler.abort_subtask": "self task_work_dir subtask_id",
    "ProviderAppHandler.compute": "self task_work_dir subtask_id subtask_params",
    "ProviderAppHandler.run_benchmark": "self work_dir",
    "AppLifecycleHandler.on_before_startup": "self",
    "AppLifecycleHandler.on_after_startup": "self",
    "AppLifecycleHandler.on_before_shutdown": "self",
    "AppLifecycleHandler.on_after_shutdown": "self",
    "TaskApiService.start": "self command port",
    "TaskApiService.stop": "self",
    "TaskApiService.running": "self",
    "TaskApiService.wait_until_shutdown_complete": "self",
    "RequestorAppClient.create": "service port=None ssl_context=None",  # 50005, by None
    "RequestorAppClient.create_task": "self task_id max_subtasks_count task_params",
    "RequestorAppClient.next_subtask": "self task_id subtask_id opaque_node_id",
    "RequestorAppClient.verify": "self task_id subtask_id",
    "RequestorAppClient.discard_subtasks": "self task_id subtask_ids",
    "RequestorAppClient.run_benchmark": "self",
    "RequestorAppClient.has_pending_subtasks": "self task_id",
    "RequestorAppClient.abort_task": "self task_id",
    "RequestorAppClient.abort_subtask": "self task_id subtask_id",
    "RequestorAppClient.shutdown": "self timeout=5.0",
    "ProviderAppClient.compute": "self task_id subtask_id subtask_params",
    "dirutils.RequestorTaskDir.subtask_outputs_dir": "self subtask_id",
    "dirutils.RequestorTaskDir.prepare": "self",
    "dirutils.RequestorDir.task_dir": "self task_id",
    "dirutils.ProviderTaskDir.subtask_dir": "self subtask_id",
    "dirutils.ProviderTaskDir.prepare": "self",
    "dirutils.ProviderDir.task_dir": "self task_id",
    "envs.create_docker_cpu_task": "image tag inf=None",
    "envs.create_docker_gpu_task": "image tag inf=None",
    "ssl.create_client_ssl_context": "directory server_cert_directory",
    "ssl.create_server_ssl_context": "directory",
    "server.RequestorAppServer": "work_dir port handler lifecycle=None",
    "server.ProviderAppServer": "work_dir port handler lifecycle=None",
    "apputils.task.TaskManager.create_task": "self part_count",
    "apputils.task.TaskManager.start_subtask": "self part_num subtask_id",
    "apputils.task.TaskManager.update_subtask_status": "self subtask_id status",
    "apputils.task.TaskManager.get_subtasks_statuses": "self part_nums",
    "apputils.task.TaskManager.get_next_computable_part_num": "self",
    "testutils.InlineTaskApiService": "work_dir requestor_handler=None "
    "requestor_lifecycle_handler=None provider_handler=None provider_lifecycle_handler=None",
    "testutils.dockertaskapiservice.DockerTaskApiService": "image work_dir vm_name='default'",
    "testutils.TaskLifecycleUtil": "work_dir",
    "testutils.TaskLifecycleUtil.init_provider": "self get_task_api_service task_id",
    "testutils.TaskLifecycleUtil.init_provider_with_handler": "self provider_handler task_id "
    "lifecycle_handler=None",
    "testutils.TaskLifecycleUtil.init_requestor": "self get_task_api_service port=50005",
    "testutils.TaskLifecycleUtil.init_requestor_with_handler": "self requestor_handler "
    "lifecycle_handler=None port=50005",
    "testutils.TaskLifecycleUtil.simulate_task": "self get_task_api_service max_subtasks_count "
    "task_params resources",
    "testutils.TaskLifecycleUtil.create_task": "self task_id max_subtasks_count resources "
    "task_params",
    "testutils.TaskLifecycleUtil.compute_next_subtask": "self task_id opaque_node_id",
    "testutils.TaskLifecycleUtil.compute_remaining_subtasks": "self task_id "
    "opaque_node_id='test-node'",
}


@pytest.mark.parametrize(("module", "ours", "name", "here"), PAIRS)
def test_a_name_is_ours(module: str, ours: str, name: str, here: str) -> None:
    theirs = getattr(importlib.import_module(module), name)
    assert theirs is getattr(importlib.import_module(ours), here)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_comes_with_the_package(name: str) -> None:
    code = f"import golem_task_api as api, types; assert isinstance(api.{name}, types.ModuleType)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert name in dir(api)


def test_what_is_no_name() -> None:
    with pytest.raises(AttributeError, match="'golem_task_api' has no attribute 'nothing'"):
        _ = api.nothing


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_signature(path: str) -> None:
    found: object = api
    *modules, last = path.split(".")
    for at, part in enumerate(modules):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            importlib.import_module(".".join(["golem_task_api", *modules[: at + 1]]))
        found = getattr(found, part)
    found = getattr(found, last)
    assert callable(found)
    none = inspect.Parameter.empty
    shown = " ".join(
        item.name + ("" if item.default is none else f"={item.default!r}")
        for item in inspect.signature(found).parameters.values()
    )
    assert shown == SIGNATURES[path]


def test_an_import_loads_only_what_is_asked_for() -> None:
    code = (
        "import sys, golem_task_api, golem_task_api.constants, golem_task_api.structs\n"
        "from golem_task_api import RequestorAppHandler, TaskApiService, dirutils, enums, envs\n"
        "print(sorted({'grpc', 'google.protobuf', 'peewee', 'pydantic', 'typer', 'asyncio',\n"
        "    'setuptools'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


async def test_all_ways_to_start_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways: list[Any] = [api.main, api.entrypoint, api.entrypoint.main, called]
    for main in ways:
        with pytest.raises(SystemExit) as caught:
            await main(work_dir=tmp_path, argv=["neither", "1"], provider_handler=mock.Mock())
        assert caught.value.code == 2
        assert "neither requestor nor provider" in capsys.readouterr().err


# Logging.


@pytest.fixture
def _levels() -> Iterator[None]:
    names = ["", "grpc", "peewee", "PIL"]
    before = [logging.getLogger(name).level for name in names]
    yield
    for name, level in zip(names, before, strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("_levels")
@pytest.mark.parametrize(
    ("arg", "level"),
    [(None, logging.INFO), ("DEBUG", 10), ("debug", 10), (40, 40), ("30", 30), ("loud", 20)],
)
def test_log_levels(arg: str | int | None, level: int) -> None:
    start_logging.from_arg(
        log_level_arg=arg,
        external_loggers=[*start_logging.DEFAULT_EXTERNAL_LOGGERS, "PIL"],
        external_log_level="ERROR",
    )
    assert logging.getLogger().level == level
    assert {logging.getLogger(name).level for name in ("grpc", "peewee", "PIL")} == {40}


# Definitions.

CONFIG = {"requestor_env": "docker_cpu", "max_benchmark_score": 10000.0, "market_strategy": "brass"}


class Mine(BuildAppDefCommand):
    """As applications write it."""

    def run(self) -> None:
        self.config["name"] = "mine/app"
        self.config["requestor_prereq"] = {"image": "mine/app", "tag": "1.2"}
        super().run()


def built(kind: type[BuildAppDefCommand], **options: str) -> None:
    attributes = {"name": "app", "version": "1.2", "author": "Zoë", "license": "Apache-2.0"}
    command = kind(Distribution({**attributes, "description": "An app."}))
    for name, value in options.items():
        setattr(command, name, value)
    command.ensure_finalized()
    command.run()


def test_build_app_def(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("task-api-config.json").write_text(json.dumps(CONFIG))
    Path("dist").mkdir()
    Path("dist/old.json").touch()
    built(Mine)
    (path,) = Path("dist").iterdir()
    found = AppDefinitionBase.from_json(path.read_text())
    assert path.name == f"mine_app_1.2_{found.id}.json"
    assert found == AppDefinitionBase(
        name="mine/app",
        requestor_env="docker_cpu",
        requestor_prereq={"image": "mine/app", "tag": "1.2"},
        max_benchmark_score=10000.0,
        version="1.2",
        description="An app.",
        author="Zoë",
        license="Apache-2.0",
    )


def test_build_app_def_elsewhere(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**CONFIG, "version": "7"}))
    built(Mine, dist_path=str(tmp_path / "out"), config_path=str(config))
    (path,) = (tmp_path / "out").iterdir()
    assert json.loads(path.read_text())["version"] == "7"


def test_build_app_def_says_what_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    with pytest.raises(FileMissing, match=r"config\.json: there is no such file"):
        built(Mine, config_path=str(config))
    config.write_text("[]")
    with pytest.raises(FileInvalid, match="is no JSON object"):
        built(Mine, config_path=str(config))
    config.write_text("{")
    with pytest.raises(FileInvalid, match="is no JSON"):
        built(Mine, config_path=str(config))
    config.write_text("{}")
    with pytest.raises(FileInvalid, match=r"config\.json: requestor_env: is missing"):
        built(Mine, config_path=str(config), dist_path=str(tmp_path / "dist"))


def test_save_app_to_json_file(tmp_path: Path) -> None:
    app = AppDefinitionBase("a", "docker_cpu", {"image": "a"}, 1.0)
    save_app_to_json_file(app, tmp_path / "apps/a.json")
    assert AppDefinitionBase.from_json((tmp_path / "apps/a.json").read_text()) == app
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="can't be written"):
        save_app_to_json_file(app, tmp_path / "file/a.json")


# TLS.


def test_certificates(tmp_path: Path) -> None:
    server, client = tmp_path / "server", tmp_path / "client"
    server.mkdir()
    client.mkdir()
    assert ssl.create_client_ssl_context(client, client) is None
    assert ssl.create_server_ssl_context(server) is None
    make_certificates(server, client)
    assert ssl.create_client_ssl_context(client, server) is not None
    assert ssl.create_server_ssl_context(server) is not None
    (server / ssl.CLIENT_CERT_FILE_NAME).unlink()
    with pytest.raises(FileMissing):
        ssl.create_server_ssl_context(server)


# What is published.


@pytest.mark.slow
def test_the_wheels_install_beside_what_is_current(tmp_path: Path) -> None:
    """Both wheels in a fresh environment, with today's grpcio and protobuf."""
    for name in (ROOT, ROOT / "compat"):
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, name],
            check=True,
        )
    fresh = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True)
    python = fresh / "bin/python"
    wheels = [str(path) for path in tmp_path.glob("*.whl")]
    assert len(wheels) == 2
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", *wheels],
        check=True,
    )
    (site,) = fresh.glob("lib/python*/site-packages")
    here = sysconfig.get_paths()["purelib"]
    modules = {*NAMES, *(ours for groups in NAMES.values() for ours in groups)}
    code = (
        f"import importlib, sys; sys.path.append({here!r})\n"
        f"for name in {sorted(modules)!r}:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(site)!r}), name\n"
        f"for module, ours, name, here in {PAIRS!r}:\n"
        "    assert getattr(importlib.import_module(module), name) is "
        "getattr(importlib.import_module(ours), here)\n"
        "import importlib.metadata as m; print(m.requires('lading-compat'))\n"
    )
    done = subprocess.run(
        [python, "-P", "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert "extra == 'golem'" in done.stdout
    (metadata,) = site.glob("lading-*.dist-info")
    requires = importlib.metadata.Distribution.at(metadata).requires or []
    wanted = [Requirement(text) for text in requires]
    golem = [item for item in wanted if item.marker and item.marker.evaluate({"extra": "golem"})]
    assert {item.name for item in golem} >= {"grpcio", "protobuf", "peewee"}
    for item in golem:
        assert item.specifier.contains(importlib.metadata.version(item.name)), item
