"""How long it takes to count what a channel holds.

    python -m benchmarks.files [FILES]      # 100,000 by default, in 1,000 directories

Prints seconds for each mode of a scale rule, and for as many `find`s on the same files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lading.contracts.processing.scaling import target_size
from lading.contracts.processing.template import ScaleRule
from lading.contracts.processing.trees import amount

RULES = {
    "sum": {"mode": "sum"},
    "sum, *.dcm": {"mode": "sum", "target_glob": "*.dcm"},
    "sum, glob and regex": {"target_glob": "**/*.dcm", "target_regex": r"\d+/\d+\.dcm"},
    "max_file_size": {"mode": "max_file_size"},
    "max_item_sum": {"mode": "max_item_sum", "target_glob": "*.dcm"},
}


def fill(folder: Path, count: int) -> None:
    """Write many small files."""
    for item in range(0, count, 100):
        inside = folder / str(item)
        inside.mkdir()
        for number in range(min(100, count - item)):
            (inside / f"{number}.dcm").write_bytes(b"0123456789")


def seconds(work: Callable[[], object]) -> float:
    """Measure one call, the best of three: the first one fills the kernel's caches."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main(arguments: list[str]) -> None:
    """Print the table."""
    count = int(arguments[0]) if arguments else 100_000
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        fill(folder, count)
        print(f"{count} files")
        print(f"  {'what a record tells':<22}{seconds(lambda: amount(folder)):>8.3f} s")
        for name, fields in RULES.items():
            rule = ScaleRule.model_validate({"scale_factor": 1, **fields})
            taken = seconds(lambda rule=rule: target_size(folder, rule))  # type: ignore[misc]
            print(f"  {name:<22}{taken:>8.3f} s")
        find = ["find", str(folder), "-type", "f", "-printf", "%s\\n"]
        taken = seconds(lambda: subprocess.run(find, stdout=subprocess.DEVNULL, check=True))
        print(f"  {'find -type f':<22}{taken:>8.3f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
