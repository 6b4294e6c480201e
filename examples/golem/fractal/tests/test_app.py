"""Both sides in this process, asked by the driver of `lading golem run`."""

import asyncio
import shutil

import pytest

from fractal.provider import FractalProvider
from fractal.render import Picture, Tile, png, render
from fractal.requestor import FractalRequestor, what_is_wrong
from lading.contracts.golem import ProviderTaskDir, RequestorTaskDir, VerifyResult
from lading.errors import AppError, GolemTaskFailed
from lading.testing.golem import InlineApp

PARAMS = {"width": 60, "height": 40, "tiles": 6, "iterations": 40}


def alone():
    picture = Picture.of(PARAMS)
    whole = Tile(0, 0, picture.width, picture.height)
    return b"".join(png(picture, [(whole, render(picture, whole))]))


def test_many_nodes_make_the_picture_of_one_process(tmp_path):
    app = InlineApp(FractalRequestor, FractalProvider, directory=tmp_path)
    done = app.run(PARAMS, nodes=3, max_subtasks=6)
    assert (done.done, done.failed) == (6, 0)
    assert done.files() == {"fractal.png": alone()}


def test_wrong_tiles_are_rendered_again(tmp_path):
    spoiled = []

    class Careless(FractalProvider):
        async def compute(self, task_work_dir, subtask_id, subtask_params):
            result = await super().compute(task_work_dir, subtask_id, subtask_params)
            if len(spoiled) < 2:
                spoiled.append(subtask_id)
                size = (task_work_dir / result).stat().st_size
                content = bytes([7]) * size if len(spoiled) == 1 else b"short"
                (task_work_dir / result).write_bytes(content)
            return result

    done = InlineApp(FractalRequestor, Careless, directory=tmp_path).run(PARAMS, max_subtasks=6)
    assert (done.done, done.failed) == (6, 2)
    assert done.files() == {"fractal.png": alone()}


def test_nodes_that_are_always_wrong_are_not_believed(tmp_path):
    class Liar(FractalProvider):
        async def compute(self, task_work_dir, subtask_id, subtask_params):
            result = await super().compute(task_work_dir, subtask_id, subtask_params)
            (task_work_dir / result).write_bytes(b"trust me")
            return result

    app = InlineApp(FractalRequestor, Liar, directory=tmp_path)
    with pytest.raises(GolemTaskFailed, match="8 bytes, not"):
        app.run(PARAMS, retries=1)


def test_parameters_are_refused_with_words(tmp_path):
    app = InlineApp(FractalRequestor, FractalProvider, directory=tmp_path)
    with pytest.raises(AppError, match="width: -1 is no number above 0"):
        app.run({"width": -1})


def test_it_makes_no_more_tiles_than_it_may(tmp_path):
    app = InlineApp(FractalRequestor, FractalProvider, directory=tmp_path)
    assert app.run(PARAMS, max_subtasks=2).done == 2


def test_every_row_may_be_looked_at(tmp_path):
    picture = Picture.of({"width": 8, "height": 3})
    tile, result = Tile(0, 0, 8, 3), tmp_path / "tile.rgb"
    assert "there is no" in str(what_is_wrong(picture, tile, result))
    pixels = bytearray(render(picture, tile))
    result.write_bytes(pixels)
    assert what_is_wrong(picture, tile, result) is None
    pixels[30] ^= 1
    result.write_bytes(pixels)
    assert what_is_wrong(picture, tile, result) == "row 1 is not what it should be"


def test_another_container_goes_on_where_one_died(tmp_path):
    """A new object knows all that the last one knew: it is in the task's directory."""

    async def run():
        task, node = RequestorTaskDir(tmp_path / "task"), ProviderTaskDir(tmp_path / "node")
        task.prepare()
        node.prepare()
        await FractalRequestor().create_task(task, 2, PARAMS)
        lost = await FractalRequestor().next_subtask(task, "lost", "node")
        assert await FractalRequestor().discard_subtasks(task, ["lost"]) == ["lost"]
        handed = []
        for name in ("first", "second"):
            assert await FractalRequestor().has_pending_subtasks(task)
            subtask = await FractalRequestor().next_subtask(task, name, "node")
            handed.append(subtask.params)
            result = await FractalProvider().compute(node, name, subtask.params)
            task.subtask_outputs_dir(name).mkdir()
            shutil.move(node / result, task.subtask_outputs_dir(name))
            verdict = await FractalRequestor().verify(task, name)
            assert verdict == (VerifyResult.SUCCESS, None)
        assert lost.params in handed
        assert not await FractalRequestor().has_pending_subtasks(task)
        assert (task.task_outputs_dir / "fractal.png").read_bytes() == alone()

    asyncio.run(run())


def test_its_benchmark_says_something(tmp_path):
    assert asyncio.run(FractalProvider().run_benchmark(tmp_path)) > 0
