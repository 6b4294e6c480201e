"""Limits written into a config.json: all its shapes, and nothing else changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lading.contracts.meca.configuring import with_limits, write_limits
from lading.contracts.meca.request import TaskLimits, read_limits
from lading.units import MIB

LIMITS = TaskLimits(cpus=0.5, memory=64 * MIB)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "resource": {"cpu": 0.5, "mem": 64}\n}\n'),
        ("{}", '{"resource": {"cpu": 0.5, "mem": 64}}'),
        (
            '{"resource": {"cpu": 1, "memory": 128, "use_gpu": true, "gpu_count": 2}, "x": [1]}',
            '{"resource": {"cpu": 0.5, "memory": 64, "use_gpu": true, "gpu_count": 2}, "x": [1]}',
        ),
        (
            '{"resource": {"resource": {"task_cpu": 2, "mem": 1000}}}',
            '{"resource": {"resource": {"task_cpu": 0.5, "mem": 64}}}',
        ),
        (
            '{\n  "resource": {\n    "mem": 128,\n    "task_mem": 256\n  }\n}\n',
            '{\n  "resource": {\n    "cpu": 0.5,\n    "mem": 64,\n    "task_mem": 64\n  }\n}\n',
        ),
    ],
)
def test_every_shape_that_is_read_can_be_written(before: str, after: str) -> None:
    assert with_limits(before, LIMITS) == after
    found = read_limits(json.loads(after)["resource"])
    assert (found.cpus, found.memory) == (0.5, 64 * MIB)
    assert with_limits(after, LIMITS) == after


def test_whole_cores_are_written_as_such() -> None:
    assert '"cpu": 2,' in with_limits("{}", TaskLimits(cpus=2.0))


def test_a_folder_without_one_gets_one(tmp_path: Path) -> None:
    write_limits(tmp_path, LIMITS)
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text) == {"resource": {"cpu": 0.5, "mem": 64}}
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"resource": {"mem": 9.5}}\r\n')
    write_limits(tmp_path, LIMITS)
    after = (tmp_path / "config.json").read_bytes()
    assert after == b'\xef\xbb\xbf{"resource": {"cpu": 0.5, "mem": 64}}\r\n'
