"""The interface is what its description says, whatever is sent (schemathesis)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """
[checks]
unsupported_method.enabled = false
# Our own refusals are documented 5xx; a 500 never is one.
not_a_server_error.expected-statuses = ["2xx", "4xx", 501, 502, 503, 504, 507]

[[operations]]
include-path = "/"
# The original's route answers 200 whatever is wrong; its callers rely on that.
checks.negative_data_rejection.enabled = false

[[operations]]
include-path = "/v1/execute"
# What this host is too small for (422) is well-formed all the same.
checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 422, 501, 503]
"""
ROOT = Path(__file__).parents[3]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.support.fake_executor", str(tmp_path / "state")]
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()
    assert process.returncode in (0, -15)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.mark.timeout(300)
def test_schemathesis(address: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    options = ["--max-examples", "60", "--seed", "1", "--no-color"]
    options += ["--exclude-path", "/stop"]  # it does end the executor; tested elsewhere
    options += ["--request-timeout", "20", "--phases", "examples,coverage,fuzzing"]
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    done = subprocess.run(
        [program, "--config-file", config, "run", f"{address}/openapi.json", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
