"""The README's commands, executed as they are printed, in their order, on a real engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.engines import call
from tests.support.printed import ROOT, blocks, reader, shell

README = ROOT / "README.md"

NOT_EXECUTED = [
    "not executed: it would run itself",
    "not executed: docs/tutorials/from-laptop-to-cluster.md is",
]
"""Nothing else may be left out."""


def test_nothing_is_left_out_in_silence() -> None:
    marks = [block.mark for block in blocks(README.read_text("utf-8"))]
    assert [mark for mark in marks if mark.startswith("not")] == NOT_EXECUTED


def test_every_link_leads_somewhere() -> None:
    page = README.read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_from_nothing_to_a_task_served(engine_host: str, tmp_path: Path) -> None:
    image = "lading-task/shout:dev"
    others = [f"lading-task/{name}:dev" for name in ("make-signals", "measure-signals", "fractal")]
    with (
        reader(engine_host, tmp_path, [image, *others], golem=True) as env,
        shell(ROOT, tmp_path, env) as terminal,
    ):
        for block in blocks(README.read_text("utf-8")):
            if block.mark not in NOT_EXECUTED:
                terminal.run(block)
        assert terminal.wait() == [0]
        _, containers = call(engine_host, "GET", "/containers/json?all=1")
        assert [item for item in containers if item["Image"] == image] == []
