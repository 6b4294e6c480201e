"""``python -m benchmarks``: measure, print the table, exit with 1 if a must is missed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.airflow import airflow_figure
from benchmarks.chain import chain_figure
from benchmarks.cids import cid_figures
from benchmarks.cold import cold_figures, spare_figure
from benchmarks.docker_api import ApiError, find_engine
from benchmarks.executor import ExecutorError
from benchmarks.figures import PROMISES, Figure, table
from benchmarks.golem_calls import call_figures
from benchmarks.golem_memory import driver_figure
from benchmarks.golem_runs import subtask_figure, subtasks_figure
from benchmarks.kubernetes import kubernetes_figures
from benchmarks.load import LoadError
from benchmarks.memory import memory_figure
from benchmarks.oneshot import run_figure, validate_figure
from benchmarks.setting import Setting, open_setting
from benchmarks.warm import warm_figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--against", metavar="URL", default="", help="another executor with this HTTP interface"
    )
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=sorted(PROMISES), help="can be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first impression")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything there too")
    parser.add_argument(
        "--engine", metavar="ADDRESS", default="", help="unix:///path; default: DOCKER_HOST"
    )
    return parser.parse_args()


def _measured(names: set[str], work: Callable[[], Iterator[Figure]]) -> list[Figure]:
    """Run a group of measurements; if it breaks, its missing figures say why."""
    if not names:
        return []
    found: list[Figure] = []
    try:
        found.extend(work())
    except (ApiError, ExecutorError, LoadError, OSError, subprocess.SubprocessError) as error:
        missing = names - {figure.name for figure in found}
        found += [Figure(name, None, str(error), failed=True) for name in sorted(missing)]
    return found


def _run(setting: Setting, wanted: set[str]) -> list[Figure]:
    warm, cold = wanted & {"added", "throughput"}, wanted & {"cold", "eight"}
    figures = _measured(warm, lambda: warm_figures(setting, warm))
    figures += _measured(cold, lambda: cold_figures(setting, cold))
    figures += _measured(wanted & {"spare"}, lambda: iter([spare_figure(setting)]))
    figures += _measured(wanted & {"memory"}, lambda: iter([memory_figure(setting)]))
    figures += _measured(wanted & {"run"}, lambda: run_figure(setting))
    figures += _measured(wanted & {"validate"}, lambda: validate_figure(setting))
    figures += _measured(wanted & {"chain"}, lambda: chain_figure(setting))
    figures += _measured(wanted & {"subtask"}, lambda: subtask_figure(setting))
    figures += _measured(wanted & {"subtasks"}, lambda: subtasks_figure(setting))
    calls = wanted & {"calls1", "calls8"}
    figures += _measured(calls, lambda: call_figures(setting, calls))
    cids = wanted & {"cid", "cidfiles", "cidnode"}
    figures += _measured(cids, lambda: cid_figures(setting, cids))
    figures += _measured(wanted & {"operator"}, lambda: airflow_figure(setting))
    pods = wanted & {"kubernetes", "pods"}
    figures += _measured(pods, lambda: kubernetes_figures(setting, pods))
    figures += _measured(wanted & {"driver"}, lambda: iter([driver_figure(setting)]))
    return sorted(figures, key=lambda figure: list(PROMISES).index(figure.name))


def main() -> int:
    """Measure what is asked for."""
    arguments = _arguments()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # connections, of the executor too
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # clean up then, too
    try:
        engine = find_engine(arguments.engine)
        with open_setting(engine, arguments.against, quick=arguments.quick) as setting:
            about = setting.describe()
            for name, text in about.items():
                print(f"{name + ':':<13} {text}")
            figures = _run(setting, set(arguments.only or PROMISES))
    except (ApiError, LoadError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted; everything is removed", file=sys.stderr)
        return 130
    print(f"\n{table(figures)}")
    if arguments.json:
        content = {
            "about": about,
            "figures": [
                {**dataclasses.asdict(figure), "verdict": figure.verdict} for figure in figures
            ],
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
