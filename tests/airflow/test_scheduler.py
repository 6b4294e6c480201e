"""Under a real scheduler, with LocalExecutor and PostgreSQL: kills, restarts, marks."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
import pytest
from tests.airflow.conftest import versions
from tests.support import cluster, engines, postgres
from tests.support.airflow import Airflow, end

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.postgres]
T = TypeVar("T")
DAGS = """
import os
from datetime import datetime, timedelta
from airflow.models import DAG
from lading.airflow import IOMapping, ProcessingContainerOperator

def inline(*verb, inputs=(), outputs=()):
    def channels(names, place):
        return [{{"name": name, "mounted_path": f"{{place}}/{{name}}"}} for name in names]
    return {{"identifier": "t", "command": ["/probe", *verb],
            "inputs": channels(inputs, "/in"), "outputs": channels(outputs, "/out")}}

def task(task_id, template, **more):
    return ProcessingContainerOperator(
        task_id=task_id, image="{probe}", taskTemplate=template, **more)

def remember(context):
    with open(f"{{os.environ['DATADIR']}}/{{context['dag'].dag_id}}", "w") as file:
        file.write(str(os.getpid()))

def dag(name, of=""):  # all of them have runs of the same name
    own = {{"data_directory": f"{{os.environ['DATADIR']}}/of/{{of or name}}"}}
    return DAG(name, schedule="@once", start_date=datetime(2026, 1, 1), default_args=own)

for name, engine in (("killed", ""), ("killed_pod", "{cluster}")):
    if engine or name == "killed":
        with dag(name) as one:  # three tasks, as in the document
            get = task("get", inline("write", "/out/downloads/f", "data", outputs=["downloads"]),
                       deferrable=False, engine=engine)
            slow = task("slow", inline("sleep", "{{{{ 600 if ti.try_number == 1 else 0 }}}}",
                                       inputs=["inputs"], outputs=["results"]),
                        iochannel_maps=[IOMapping(get, "downloads", "inputs")],
                        pre_execute=remember, retries=1, retry_delay=timedelta(seconds=1),
                        deferrable=False, engine=engine)
            upload = task("upload", inline("exit", "0", inputs=["inputs"]),
                          iochannel_maps=[IOMapping(slow, "results", "inputs")],
                          deferrable=False, engine=engine)
            get >> slow >> upload
        globals()[name] = one
with dag("chain"):
    first = task("first", inline("write", "/out/out/f", "from the first", outputs=["out"]),
                 deferrable=True)
    first >> task("second", inline("cat", "/in/in/f", inputs=["in"]), deferrable=True,
                  iochannel_maps=[IOMapping(first, "out", "in")])
for name in ("one", "two"):
    with dag(name, "both") as one:
        task("makes", inline("write", "/out/out/f", name, outputs=["out"]))
    globals()[name] = one
with dag("restarted"):
    task("waits", inline("lines", "3", "12000"), deferrable=True)
with dag("marked"):
    task("endless", inline("sleep", "600"), deferrable=True)
    task("holds", inline("sleep", "600"), deferrable=False)
"""


@dataclass
class Scheduler:
    """Airflow's parts, running."""

    flow: Airflow
    url: str
    port: int

    def states(self, dag: str) -> dict[str, str | None]:
        with psycopg.connect(self.url) as database:
            rows = database.execute(
                "SELECT task_id, state FROM task_instance WHERE dag_id = %s", (dag,)
            )
            return dict(rows.fetchall())

    def run_id(self, dag: str) -> str:
        with psycopg.connect(self.url) as database:
            row = database.execute("SELECT run_id FROM dag_run WHERE dag_id = %s", (dag,))
            return str(row.fetchall()[0][0])

    def containers(self, dag: str) -> list[str]:
        _, found = engines.call(self.flow.engine, "GET", "/containers/json?all=1")
        return [
            item["Id"]
            for item in found
            if (item.get("Labels") or {}).get("lading.airflow.dag") == dag
            and item["Labels"].get("lading.lock", "").startswith(str(self.flow.state))
        ]

    def logs(self, dag: str) -> str:
        folders = self.flow.home.glob(f"logs/dag_id={dag}")
        return "".join(path.read_text() for one in folders for path in sorted(one.rglob("*.log*")))

    def mark_failed(self, dag: str, task: str) -> None:
        """As somebody does in the page of a DAG run."""
        run = self.run_id(dag)
        if self.flow.major > 2:
            base = f"http://127.0.0.1:{self.port}"
            token = _asked(f"{base}/auth/token")["access_token"]
            path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run)}/taskInstances/{task}"
            _asked(f"{base}{path}", "PATCH", {"new_state": "failed"}, token)
        else:
            code = (
                "import sys; from airflow.models import DagBag; from airflow.utils.state import *\n"
                "dag, run, task = sys.argv[1:]\n"
                "found = DagBag().get_dag(dag).set_task_instance_state(\n"
                "    task_id=task, run_id=run, state=TaskInstanceState.FAILED)\n"
                "print(len(found))\n"
            )
            assert self.flow.python(code, dag, run, task) == 1


@pytest.fixture
def kubernetes(request: pytest.FixtureRequest) -> str:
    """Address of a namespace of a cluster; empty where there is none."""
    host: str = request.getfixturevalue("kubernetes_host") if cluster.find() else ""
    return host


@pytest.fixture
def scheduler(flow: Airflow, probe: str, kubernetes: str) -> Iterator[Scheduler]:
    if why := postgres.missing():
        pytest.skip(why)
    (flow.dags / "all.py").write_text(DAGS.format(probe=probe, cluster=kubernetes))
    with postgres.cluster() as server, server.database() as url, contextlib.ExitStack() as parts:
        port = _free_port()
        more = {"KUBECONFIG": os.environ["KUBECONFIG"]} if kubernetes else {}
        flow = replace(flow, more={**_settings(url, port), **more})
        assert flow("db", "migrate").returncode == 0
        if flow.major > 2:  # tasks that start before it answers fail
            api = parts.enter_context(flow.started("api-server", "--workers", "1"))
            _answers(port, api)
            parts.enter_context(flow.started("dag-processor"))
        parts.enter_context(flow.started("scheduler"))
        yield Scheduler(flow, url, port)
        if kubernetes:  # a test that failed must not fail others
            path = f"/api/v1/namespaces/{cluster.namespace_of(kubernetes)}/pods"
            cluster.call("DELETE", path)


def _settings(url: str, port: int) -> dict[str, str]:
    own = {
        "DATABASE__SQL_ALCHEMY_CONN": url.replace("postgresql:", "postgresql+psycopg2:"),
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "3",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "6",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "API__SECRET_KEY": secrets.token_hex(32),
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "1",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "4",
    }
    return {f"AIRFLOW__{name}": value for name, value in own.items()}


@versions
@pytest.mark.timeout(300)
def test_kills_and_restarts(scheduler: Scheduler, kubernetes: str) -> None:
    flow = scheduler.flow
    with contextlib.ExitStack() as parts:
        triggerer = parts.enter_context(flow.started("triggerer"))
        _until(lambda: scheduler.states("marked").get("endless") == "deferred", scheduler)
        _until(lambda: len(scheduler.containers("marked")) == 2, scheduler)
        _until(lambda: "line 1" in scheduler.logs("restarted"), scheduler)

        # A worker is killed: its container goes on, until the retry comes.
        _until((flow.data / "killed").exists, scheduler)
        (container,) = _until(lambda: scheduler.containers("killed"), scheduler)
        os.kill(int((flow.data / "killed").read_text()), signal.SIGKILL)
        if kubernetes:
            _until((flow.data / "killed_pod").exists, scheduler)
            (pod,) = _until(lambda: _running(kubernetes), scheduler)
            os.kill(int((flow.data / "killed_pod").read_text()), signal.SIGKILL)

        # So is the triggerer: who waits there goes on with the next one.
        end(triggerer, at_once=True)
        assert scheduler.states("restarted") == {"waits": "deferred"}
        assert scheduler.containers("marked")
        parts.enter_context(flow.started("triggerer"))
        _until(lambda: scheduler.states("restarted").get("waits") == "success", scheduler)
        assert "line 3" in scheduler.logs("restarted")

        _until(lambda: scheduler.states("chain").get("second") == "success", scheduler)
        _until(lambda: scheduler.states("killed").get("upload") == "success", scheduler)
        assert container not in scheduler.containers("killed")

        if kubernetes:
            _until(lambda: scheduler.states("killed_pod").get("upload") == "success", scheduler)
            assert pod not in _running(kubernetes)

        # Somebody marks tasks, one that waits in the triggerer and one in a worker.
        assert len(scheduler.containers("marked")) == 2
        scheduler.mark_failed("marked", "endless")
        scheduler.mark_failed("marked", "holds")
        _until(lambda: not scheduler.containers("marked"), scheduler)
    assert "from the first" in scheduler.logs("chain")
    _one_of_two_dags(scheduler)
    assert flow.left(flow.engine) == []


def _one_of_two_dags(scheduler: Scheduler) -> None:
    """Two DAGs have runs of the same name, and one directory: whose task came first has it."""
    ends = {dag: scheduler.states(dag)["makes"] for dag in ("one", "two")}
    assert sorted(map(str, ends.values())) == ["failed", "success"], ends
    first = "one" if ends["one"] == "success" else "two"
    (made,) = scheduler.flow.data.glob("of/both/*/makes/out/f")
    assert made.read_text() == first
    other = "two" if first == "one" else "one"
    assert f"has the data of DAG {first}, which has a run of the" in scheduler.logs(other)


def _running(kubernetes: str) -> list[str]:
    """Names of the pods whose containers run."""
    found = cluster.pods(cluster.namespace_of(kubernetes))
    return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == "Running"]


def _until(done: Callable[[], T], scheduler: Scheduler, patience: float = 120) -> T:
    """Wait until something is true of Airflow's database, or of its files."""
    deadline = time.monotonic() + patience
    while not (found := done()):
        if time.monotonic() > deadline:
            with psycopg.connect(scheduler.url) as database:
                rows = database.execute("SELECT dag_id, task_id, state FROM task_instance")
                states = rows.fetchall()
            logs = {
                path.name: path.read_text()[-3000:] for path in scheduler.flow.home.glob("*.log")
            }
            raise AssertionError(f"it never came to that; {states}; {logs}")
        time.sleep(0.2)
    return found


def _answers(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _asked(url: str, method: str = "GET", body: object = None, token: str = "") -> Any:
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())
