"""An application that was written for `golem_task_api`, and ours under a client of those names."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compat.conftest import both_engines
from tests.images.golem import ensure_golem_image
from tests.support import engines
from tests.support.command_line import Cli
from tests.support.printed import ROOT

import golem_task_api as api
from golem_task_api.apputils.task.database import DBTaskManager
from golem_task_api.client import ShutdownException
from golem_task_api.testutils import InlineTaskApiService, TaskLifecycleUtil
from golem_task_api.testutils.dockertaskapiservice import (
    DockerTaskApiService,
    is_docker_available,
)
from lading.contracts.golem.subtasks.database import close_all
from lading.errors import AppError, AppGone, ImageError

APP = Path(__file__).with_name("golem_app")
NAME, TAG = "lading-test/primes-app", "1.0"
PARAMS = {"first": 0, "last": 60, "resources": ["excluded.txt"]}
PRIMES = [n for n in range(2, 60) if all(n % other for other in range(2, n)) and n not in (7, 53)]
TEXT = "".join(f"{number}\n" for number in PRIMES)

pytestmark = pytest.mark.usefixtures("grpc_stays")


@functools.cache
def ensure_primes(engine_host: str) -> str:
    """Make sure that an engine has the image of the application, by the name that it says."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "primes")
        shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("__pycache__", "setup.py"))
        shutil.copytree(
            ROOT / "compat/src/golem_task_api",
            folder / "golem_task_api",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        built = ensure_golem_image(engine_host, folder)
    status, why = engines.call(
        engine_host, "POST", f"/images/{built}/tag?repo={NAME}&tag={TAG}&force=true"
    )
    assert status == 201, why
    return f"{NAME}:{TAG}"


@pytest.fixture
def primes(engine_host: str) -> str:
    return ensure_primes(engine_host)


@pytest.fixture
def cli(engine_host: str, tmp_path: Path) -> Iterator[Cli]:
    """The command line; what it left behind fails the test, and is removed."""
    made = Cli(engine_host, tmp_path / "state")
    yield made
    left = made.left()
    if left:
        made("rm", "--all")
    assert left == set()


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    path = tmp_path / "given/excluded.txt"
    path.parent.mkdir()
    path.write_text("7 53\n")
    return path


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the application's handlers, in this process."""
    monkeypatch.syspath_prepend(str(APP))
    yield importlib.import_module("primes_app.entrypoint")
    for name in [name for name in sys.modules if name.partition(".")[0] == "primes_app"]:
        del sys.modules[name]
    close_all()


@pytest.fixture
def util(tmp_path: Path) -> TaskLifecycleUtil:
    folder = tmp_path / "util"
    folder.mkdir()
    return TaskLifecycleUtil(folder)


@pytest.fixture
def here(engine_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as a program that finds that engine."""
    monkeypatch.setenv("LADING_ENGINE", engine_host)
    monkeypatch.setenv("LADING_STATE", str(tmp_path / "state"))


# The application, under our driver.


@both_engines
def test_it_runs_under_our_driver(cli: Cli, primes: str, resources: Path, tmp_path: Path) -> None:
    """A wrong result is computed again; what its parts are told is kept in its `task.db`."""
    output = tmp_path / "output"
    params = json.dumps({**PARAMS, "first_attempt_lies": True})
    done = cli(
        *("golem", "run", primes, "--params", params, "--resources", str(resources)),
        *("--output", str(output), "--nodes", "2", "--max-subtasks", "4", "--json"),
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert (told["subtasks"], told["retries"]) == (4, 1)
    assert {path.name: path.read_text() for path in output.iterdir()} == {"primes.txt": TEXT}


def test_by_its_definition_file(cli: Cli, primes: str, resources: Path, tmp_path: Path) -> None:
    """The file that `setup.py build_app_def` writes."""
    source = tmp_path / "source"
    shutil.copytree(APP, source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "setup.py", "-q", "build_app_def"], check=True, cwd=source)
    (definition,) = (source / "dist").iterdir()
    assert definition.name.startswith("lading-test_primes-app_1.0_")
    done = cli(
        *("golem", "run", str(definition), "--params", json.dumps(PARAMS)),
        *("--resources", str(resources), "--output", str(tmp_path / "output")),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "output/primes.txt").read_text() == TEXT


def test_what_it_raises_is_told(cli: Cli, primes: str, resources: Path, tmp_path: Path) -> None:
    done = cli(
        *("golem", "run", primes, "--params", json.dumps({**PARAMS, "last": 0})),
        *("--resources", str(resources), "--output", str(tmp_path / "output")),
    )
    assert done.returncode not in (0, 1)
    assert "there is no number from 0 on below 0" in done.stderr.decode()


def test_its_benchmark(cli: Cli, primes: str) -> None:
    done = cli("golem", "benchmark", primes)
    assert done.returncode == 0, done.stderr.decode()
    assert b"1095" in done.stdout + done.stderr


# The application, under its own test helpers.


async def test_its_handlers_inline(util: TaskLifecycleUtil, app: Any, resources: Path) -> None:
    def service(work_dir: Path) -> api.TaskApiService:
        return InlineTaskApiService(
            work_dir,
            requestor_handler=app.RequestorHandler(),
            requestor_lifecycle_handler=app.LifecycleHandler(),
            provider_handler=app.ProviderHandler(),
        )

    task_dir = await util.simulate_task(service, 3, PARAMS, [resources])
    assert (task_dir.task_outputs_dir / "primes.txt").read_text() == TEXT
    util.init_provider(service, "another")
    assert await util.run_provider_benchmark() == 1095


async def discard(
    util: TaskLifecycleUtil, service: Callable[[Path], api.TaskApiService], resources: Path
) -> None:
    """As applications' own tests do it."""
    async with util.init_requestor(service) as client:
        await util.create_task("task", 3, [resources], PARAMS)
        util.init_provider(service, "task")
        subtask_ids = await util.compute_remaining_subtasks("task", "whatever")
        outputs = util.req_dir.task_dir("task").task_outputs_dir
        assert (outputs / "primes.txt").exists()
        for count in (3, 1):
            chosen = subtask_ids[:count]
            assert await client.discard_subtasks("task", chosen) == chosen
            assert await client.has_pending_subtasks("task")
            subtask_ids = await util.compute_remaining_subtasks("task", "whatever")
            assert len(subtask_ids) == count
            assert (outputs / "primes.txt").read_text() == TEXT


async def test_discard_inline(util: TaskLifecycleUtil, app: Any, resources: Path) -> None:
    await discard(
        util,
        lambda work_dir: InlineTaskApiService(
            work_dir,
            provider_handler=app.ProviderHandler(),
            requestor_handler=app.RequestorHandler(),
        ),
        resources,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("here")
async def test_discard_in_containers(util: TaskLifecycleUtil, primes: str, resources: Path) -> None:
    await discard(util, lambda work_dir: DockerTaskApiService(primes, work_dir), resources)


@both_engines
@pytest.mark.usefixtures("here")
async def test_it_runs_in_containers_of_its_test_helpers(
    util: TaskLifecycleUtil, primes: str, resources: Path
) -> None:
    def service(work_dir: Path) -> api.TaskApiService:
        return DockerTaskApiService(image=primes, work_dir=work_dir)

    assert await asyncio.to_thread(is_docker_available)
    task_dir = await util.simulate_task(service, 2, PARAMS, [resources])
    assert (task_dir.task_outputs_dir / "primes.txt").read_text() == TEXT
    manager = DBTaskManager(task_dir)  # the file is ours, not root's
    statuses = manager.get_subtasks_statuses([0, 1])
    await asyncio.to_thread(close_all)
    assert {status.name for status, _ in statuses.values()} == {"SUCCESS"}


@pytest.mark.usefixtures("here")
async def test_shutdown_in_the_middle_of_a_computation(
    util: TaskLifecycleUtil, primes: str, resources: Path
) -> None:
    def service(work_dir: Path) -> api.TaskApiService:
        return DockerTaskApiService(primes, work_dir)

    endless = {**PARAMS, "last": 10_000_000}
    task = asyncio.ensure_future(util.simulate_task(service, 1, endless, [resources]))
    async with asyncio.timeout(60):
        while util.provider_client is None:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # it computes by now, or is about to
    await util.shutdown_provider()
    with pytest.raises(ShutdownException):
        await task


@pytest.mark.usefixtures("here")
async def test_errors_of_a_container(primes: str, tmp_path: Path, resources: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ImageError):
        await api.RequestorAppClient.create(DockerTaskApiService("lading-test/none:1", work))
    service = DockerTaskApiService(primes, work)
    client = await api.RequestorAppClient.create(service)
    with pytest.raises(AppError, match="No such file"):
        await client.create_task("task", 1, PARAMS)
    await service.stop()
    with pytest.raises(AppGone):
        await client.has_pending_subtasks("task")
    await client.shutdown()
    assert not service.running()


# Ours, under a client of those names.


@pytest.mark.usefixtures("here")
async def test_ours_under_a_client_of_those_names(
    util: TaskLifecycleUtil, engine_host: str, tmp_path: Path
) -> None:
    folder = tmp_path / "fractal-example"
    shutil.copytree(ROOT / "examples/golem/fractal", folder)
    # The base has what the example would install.
    (folder / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nCOPY fractal /app/fractal\nENV PYTHONPATH=/app\n"
        'ENTRYPOINT ["python3", "-m", "fractal"]\n'
    )
    image = await asyncio.to_thread(ensure_golem_image, engine_host, folder)

    def service(work_dir: Path) -> api.TaskApiService:
        return DockerTaskApiService(image, work_dir)

    params = {"width": 64, "height": 48, "tiles": 4}
    task_dir = await util.simulate_task(service, 4, params, [])
    (picture,) = task_dir.task_outputs_dir.iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")
