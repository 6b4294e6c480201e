"""How often a registry is asked, and when not again."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.fake_probe import NAME, probe_image

from lading.content import registry
from lading.content.registry import Pushed
from lading.engine import PullStatus
from lading.errors import (
    ImageDenied,
    ImageError,
    ImageNameInvalid,
    ImageNotFound,
    ImagePullFailed,
    ImagePushFailed,
)
from lading.testing import FakeEngine, FakeRegistry

REF = "registry.test/me/task:1"


def down(kind: type[ImagePushFailed | ImagePullFailed]) -> ImageError:
    error = kind(REF, "connection refused")
    error.passing = True
    return error


async def test_pushed_under_its_full_name() -> None:
    engine = FakeEngine([probe_image()])
    pushed = await registry.push(engine, NAME, "me/task")
    assert pushed.ref == "docker.io/me/task:latest"
    assert engine.registry.pushes == ["docker.io/me/task:latest"]
    assert pushed.pinned == f"docker.io/me/task@{probe_image().digest}"
    assert (await engine.image("docker.io/me/task")).id == probe_image().id


@pytest.mark.parametrize("failures", [0, 1, 3])
async def test_a_registry_that_is_down_for_a_moment(failures: int) -> None:
    engine = FakeEngine([probe_image()], registry=FakeRegistry({REF: probe_image()}))
    seen: list[PullStatus] = []
    engine.fail("push", down(ImagePushFailed), failures)
    pushed = await registry.push(engine, NAME, REF, progress=seen.append, pause=0.001)
    assert pushed == Pushed(REF, probe_image().digest)
    assert engine.calls["push"] == failures + 1
    engine.fail("pull", down(ImagePullFailed), failures)
    assert (await registry.pull(engine, REF, pause=0.001)).id == probe_image().id
    assert engine.calls["pull"] == failures + 1
    waits = [status.text for status in seen if "again in" in status.text]
    assert len(waits) == failures
    assert all("connection refused" in text for text in waits)


async def test_a_registry_that_stays_down() -> None:
    engine = FakeEngine([probe_image()])
    engine.fail("push", down(ImagePushFailed), 9)
    with pytest.raises(ImagePushFailed, match=r"connection refused \(tried 4 times\)"):
        await registry.push(engine, NAME, REF, pause=0.001)
    assert engine.calls["push"] == 4
    engine.fail("pull", down(ImagePullFailed), 9)
    with pytest.raises(ImagePullFailed, match=r"connection refused \(tried 2 times\)"):
        await registry.pull(engine, REF, tries=2, pause=0.001)
    assert engine.calls["pull"] == 2


@pytest.mark.parametrize(
    "error",
    [
        ImageDenied(REF, "denied"),
        ImagePushFailed(REF, "method not allowed"),
        ImageNotFound(REF, "no such image"),
    ],
)
async def test_who_refuses_is_not_asked_twice(error: ImageError) -> None:
    engine = FakeEngine([probe_image()])
    engine.fail("push", error, 9)
    with pytest.raises(type(error)) as caught:
        await registry.push(engine, NAME, REF, pause=0.001)
    assert caught.value is error
    assert "tried" not in error.message
    assert engine.calls["push"] == 1


async def test_what_can_not_be_asked_for() -> None:
    engine = FakeEngine([probe_image()])
    for ref in ("Upper/Case", "", f"me/task@sha256:{'0' * 64}"):
        with pytest.raises(ImageNameInvalid):
            await registry.push(engine, NAME, ref)
    with pytest.raises(ImageNotFound):
        await registry.push(engine, "me/absent", REF)
    assert engine.calls["push"] == 0


async def test_a_name_that_did_not_get_there_goes_away() -> None:
    engine = FakeEngine([probe_image()])
    engine.fail("push", ImageDenied(REF, "denied"))
    with pytest.raises(ImageDenied):
        await registry.push(engine, NAME, REF)
    with pytest.raises(ImageNotFound):
        await engine.image(REF)
    await engine.tag(NAME, REF)  # a name that it had before stays
    engine.fail("push", ImageDenied(REF, "denied"))
    with pytest.raises(ImageDenied):
        await registry.push(engine, NAME, REF)
    assert (await engine.image(REF)).id == probe_image().id


async def test_a_push_that_is_cancelled_while_it_waits() -> None:
    engine = FakeEngine([probe_image()])
    engine.fail("push", down(ImagePushFailed))
    waits = asyncio.Event()

    def tell(status: PullStatus) -> None:
        if "again in" in status.text:
            waits.set()

    pushing = asyncio.create_task(registry.push(engine, NAME, REF, progress=tell, pause=3600))
    await waits.wait()
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    with pytest.raises(ImageNotFound):
        await engine.image(REF)
