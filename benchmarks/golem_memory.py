"""What the driver's process takes for a task of ten thousand subtasks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from benchmarks.figures import Figure
from benchmarks.setting import Setting

__all__ = ["driver_figure"]

_SUBTASKS, _FEW = 10_000, 2_000


def driver_figure(setting: Setting) -> Figure:
    """Measure the most that a driver took; its application and providers only pretend."""
    subtasks = setting.rounds(_SUBTASKS, _FEW)
    setting.say(f"driver: a task of {subtasks} subtasks")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.golem_driver", str(subtasks), folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        return Figure("driver", None, done.stderr.strip()[-300:], failed=True)
    found = json.loads(done.stdout.splitlines()[-1])
    parts = {
        "subtasks": float(subtasks),
        "before the first, MB": found["begun"],
        "the driver's own time for one, ms": found["seconds"] / subtasks * 1000,
    }
    return Figure("driver", found["most"], parts=parts)
