"""Airflow of both lines, with our wheels, and images for its DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import airflow
from tests.support.airflow import Airflow
from tests.support.processing import Images

versions = pytest.mark.parametrize("version", airflow.VERSIONS)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return airflow.build_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def environments() -> dict[str, Path]:
    """Those that were made sure of in this session."""
    return {}


@pytest.fixture
def flow(
    version: str,
    environments: dict[str, Path],
    request: pytest.FixtureRequest,
    docker_host: str,
    tmp_path: Path,
) -> Iterator[Airflow]:
    """An Airflow on Docker, with a folder of DAGs; what its tasks leave fails the test."""
    if why := airflow.missing(version):
        pytest.skip(why)
    if version not in environments:
        environments[version] = airflow.environment(version, request.getfixturevalue("wheels"))
    made = Airflow.make(version, environments[version], tmp_path / "home", docker_host)
    yield made
    assert made.left(docker_host) == []


@pytest.fixture
def images(docker_host: str, test_id: str) -> Iterator[Images]:
    made = Images(docker_host, test_id)
    yield made
    made.remove()


@pytest.fixture
def probe(images: Images) -> str:
    """An image of the test's own, which nobody makes anew meanwhile."""
    return images("probe:1")
