"""What pods cost: one to its end against the cluster's own time, and what 100 at once ask of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cluster_api import Cluster, Json, counted, find_cluster
from benchmarks.cold import in_turn
from benchmarks.figures import Figure
from benchmarks.oneshot import WORDS, installed, program, ratio, task_of, timed
from benchmarks.setting import Setting

__all__ = ["kubernetes_figures"]

_NONE = "no cluster: LADING_TEST_KUBECONFIG names none"


def kubernetes_figures(setting: Setting, wanted: set[str]) -> Iterator[Figure]:
    """Measure one pod, what a hundred at once ask, or both."""
    cluster = find_cluster()
    if cluster is None:
        yield from (Figure(name, None, _NONE) for name in sorted(wanted))
        return
    name = f"lading-bench-{setting.label}"
    with cluster.namespace(name) as path, tempfile.TemporaryDirectory() as folder:
        if "kubernetes" in wanted:
            yield _one(setting, cluster, path, folder)
        if "pods" in wanted:
            yield _many(setting, cluster, name, folder)


def _one(setting: Setting, cluster: Cluster, path: str, folder: str) -> Figure:
    task = Path(folder, "task.json")
    task.write_text(json.dumps(task_of(setting.image)))
    namespace = path.rpartition("/")[2]
    env = installed(
        folder,
        LADING_STATE=f"{folder}/state",
        KUBECONFIG=str(cluster.config),
        LADING_ENGINE=f"kubernetes:///{namespace}",
    )
    command = [program("lading"), "run", "--watch", str(task)]
    with contextlib.closing(cluster.connect()) as connection:
        numbers = iter(range(1_000))

        def theirs() -> float:
            name = f"floor-{next(numbers)}"
            began = time.perf_counter()
            made = cluster.call(connection, "POST", f"{path}/pods", _pod(name, setting.image))
            _wait(cluster, path, made)
            seconds = time.perf_counter() - began
            now = {"gracePeriodSeconds": 0}
            cluster.call(connection, "DELETE", f"{path}/pods/{name}", now)
            return seconds

        rounds = setting.rounds(15, 5)
        setting.say(f"kubernetes: {rounds} pairs")
        mine, other = in_turn(rounds, lambda: timed(command, env), theirs)
    return ratio("kubernetes", {"lading run --watch": mine, "create to succeeded": other})


def _wait(cluster: Cluster, path: str, made: Json) -> None:
    """Watch a pod until it has succeeded."""
    about = made["metadata"]
    query = f"watch=true&fieldSelector=metadata.name%3D{about['name']}"
    query += f"&resourceVersion={about['resourceVersion']}"
    with contextlib.closing(cluster.connect()) as connection:
        response = cluster.ask(connection, "GET", f"{path}/pods?{query}")
        while line := response.readline():
            phase = json.loads(line)["object"]["status"].get("phase")
            if phase == "Succeeded":
                return
            if phase == "Failed":
                break
    raise OSError(f"the pod {about['name']} did not succeed")


def _pod(name: str, image: str) -> Json:
    memory = {"memory": "64Mi"}
    return {
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/probe", *WORDS],
                    "env": [{"name": "GREETING", "value": "hello"}],
                    "resources": {"limits": memory},
                }
            ],
        },
    }


def _many(setting: Setting, cluster: Cluster, namespace: str, folder: str) -> Figure:
    count = 20 if setting.quick else 100
    files = []
    content = task_of(setting.image)
    content["resources"] = {"limits": {"memory": "16Mi", "cpu": "10m"}}
    for number in range(count):
        path = Path(folder, f"pod-{number}.json")
        path.write_text(json.dumps({**content, "name": f"pod-{number}"}))
        files.append(str(path))
    with counted(cluster, folder, namespace) as (counter, config):
        env = installed(
            folder,
            LADING_STATE=f"{folder}/state",
            KUBECONFIG=str(config),
            LADING_ENGINE="kubernetes",
        )
        command = [program("lading"), "run", *files, "--parallel", str(count), "-q"]
        setting.say(f"pods: {count} at once")
        began = time.perf_counter()
        done = subprocess.run(
            command, env=env, check=False, stdin=subprocess.DEVNULL, capture_output=True
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        return Figure("pods", None, done.stderr.decode()[-500:], failed=True)
    parts = {f"{kind}, calls": float(calls) for kind, calls in sorted(counter.seen.items())}
    return Figure(
        "pods",
        sum(counter.seen.values()) / count,
        parts={"until the last ended, s": seconds, **parts},
    )
