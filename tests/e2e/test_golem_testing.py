"""An application's image under test, as its author tests it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines
from tests.images.golem import ensure_golem_image
from tests.support.leaks import Footprint

from lading.contracts.golem.driver.events import SubtaskFailed
from lading.errors import BuildFailed, GolemTaskFailed, ImageNotFound, LadingError
from lading.testing.golem import ContainerApp, build_image
from lading.testing.golem_fixtures import MakeContainerApp, golem_container

__all__ = ["golem_container"]

pytestmark = pytest.mark.usefixtures("grpc_stays")

PROBE = Path(__file__).parents[1] / "images/golem_probe"


@pytest.fixture
def image(engine_host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LADING_ENGINE", engine_host)
    return ensure_golem_image(engine_host, PROBE)


def params(image: str, **wanted: object) -> dict[str, object]:
    name, _, tag = image.rpartition(":")
    return {"image": name, "tag": tag, **wanted}


@both_engines
def test_a_task_in_containers(golem_container: MakeContainerApp, image: str) -> None:
    app = golem_container(image)
    done = app.run(params(image, parts=3, do={"1": "die-once"}), max_subtasks=3)
    assert done.done == 3
    assert done.failed >= 1
    assert sorted(done.files()) == ["parts/0", "parts/1", "parts/2", "sum"]
    assert [type(event) for event in done.events].count(SubtaskFailed) == done.failed


async def test_limits_and_no_network(image: str, tmp_path: Path) -> None:
    app = ContainerApp(image, directory=tmp_path)
    done = await app.compute(
        params(image, parts=1), max_subtasks=1, nodes=1, memory="256Mi", cpu="0.5", network=False
    )
    files = await asyncio.to_thread(done.files)
    assert json.loads(files["parts/0"])["square"] == 0


def test_what_can_not_be_finished(golem_container: MakeContainerApp, image: str) -> None:
    with pytest.raises(GolemTaskFailed, match="exit code"):
        golem_container(image).run(params(image, parts=1, do={"0": "die"}), retries=0, nodes=1)


@pytest.mark.usefixtures("image")
def test_an_image_that_is_not_there(golem_container: MakeContainerApp) -> None:
    with pytest.raises(LadingError) as caught:
        golem_container("lading-test/nowhere:1").run({})
    assert isinstance(caught.value, ImageNotFound) or "lading-test/nowhere" in str(caught.value)


@pytest.mark.usefixtures("image")
def test_a_folder_that_can_not_be_built(tmp_path: Path, footprint: Footprint) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nRUN false\n")
    with pytest.raises(BuildFailed):
        build_image(tmp_path, tag="lading-test/none:1")
