"""What is said where a network can't be closed; that it is closed, the conformance tests show."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.engine.docker_firewall import Firewall
from lading.engine.netns import privileged

NAME = "lading-test-firewall"
BRIDGE = "ldg-none"


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "lading")


async def test_it_is_said_once_what_tasks_may_reach_and_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    firewall = Firewall("the engine may be on another machine", 0)
    for _ in range(2):
        await firewall.close_off(NAME, BRIDGE)
    await firewall.forget(NAME)
    [told] = [record.getMessage() for record in caplog.records]
    for words in (NAME, BRIDGE, "may reach the engine's own host", "may be on another machine"):
        assert words in told


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A process in a network namespace of its own."""
    if not privileged():
        pytest.skip("making a network namespace takes root")
    command = ["unshare", "-n", "sh", "-c", "echo here; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


async def test_rules_of_ours_are_none_of_an_engine_with_a_network_of_its_own(
    caplog: pytest.LogCaptureFixture, elsewhere: int
) -> None:
    await Firewall("", elsewhere).close_off(NAME, BRIDGE)
    assert "a network namespace of its own" in caplog.text


@pytest.mark.skipif(shutil.which("iptables") is None, reason="iptables is not installed")
async def test_one_ip_version_is_closed_although_the_other_can_not_be(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not privileged():
        pytest.skip("rules take root")
    broken = tmp_path / "ip6tables"
    broken.write_text("#!/bin/sh\necho no such table >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    firewall = Firewall("", 0)
    try:
        await firewall.close_off(NAME, BRIDGE)
        assert "ip6tables: no such table" in caplog.text
        assert BRIDGE in _saved()
    finally:
        await firewall.forget(NAME)
    assert BRIDGE not in _saved()


async def test_no_packet_filter_at_all(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lading.engine.docker_firewall._SYSTEM_PATH", str(tmp_path))
    await Firewall("", 0).close_off(NAME, BRIDGE)
    assert "iptables is not installed" in caplog.text


def _saved() -> str:
    saving = ["iptables-save", "-t", "mangle"]
    return subprocess.run(saving, capture_output=True, text=True, check=True).stdout
