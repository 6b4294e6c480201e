"""What only a cluster knows."""

from __future__ import annotations

import pytest
from tests.support.fake_probe import probe_image

from lading.engine.placement import RegistryLogin, Volume, refuse_volumes
from lading.engine.spec import ContainerSpec
from lading.errors import NotSupported
from lading.testing import FakeEngine

CLAIM = Volume({"persistentVolumeClaim": {"claimName": "data"}}, "/data")


def test_a_password_is_not_shown() -> None:
    assert "geheim" not in repr(RegistryLogin("registry.example", "me", "geheim"))


async def test_an_engine_of_one_machine_has_no_volumes() -> None:
    refuse_volumes((), "docker")
    image = probe_image()
    async with FakeEngine([image]) as engine:
        with pytest.raises(NotSupported, match=r"no volumes of a cluster.* /data; mount a dir"):
            await engine.create(ContainerSpec(image.ref, volumes=(CLAIM,)))
        assert await engine.containers({}) == []
