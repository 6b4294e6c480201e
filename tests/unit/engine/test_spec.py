from __future__ import annotations

from typing import Any

import pytest

from lading.engine import ContainerSpec, Limits
from lading.engine.docker_wire import create_body
from lading.errors import InvalidLimit


@pytest.mark.parametrize(
    "values", [{"cpus": 0.0}, {"cpus": float("nan")}, {"memory": 0}, {"memory": -1}, {"pids": 0}]
)
def test_no_limit_is_mistaken_for_none(values: dict[str, Any]) -> None:
    """Engines take 0 and -1 for "as much as there is"."""
    with pytest.raises(InvalidLimit, match=next(iter(values))):
        Limits(**values)


@pytest.mark.parametrize(
    ("requests", "limits", "message"),
    [
        (
            {"memory": 64 << 20},
            {"memory": 32 << 20},
            "requests.memory: 64 MiB are more than the limit of 32 MiB",
        ),
        (
            {"cpus": 1.5},
            {"cpus": 1.0},
            "requests.cpus: 1.5 cores are more than the limit of 1",
        ),
        ({"pids": 5}, {}, "requests.pids: processes can't be requested"),
    ],
)
def test_nobody_requests_what_the_limits_refuse(
    requests: dict[str, Any], limits: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidLimit) as caught:
        ContainerSpec("x", requests=Limits(**requests), limits=Limits(**limits))
    assert caught.value.message == message
    assert caught.value.fix


def test_all_that_the_limits_let_have_may_be_requested() -> None:
    both = Limits(cpus=2.0, memory=1 << 30)
    assert ContainerSpec("x", requests=both, limits=both).requests == both
    assert ContainerSpec("x", requests=both, limits=Limits(pids=9)).requests == both


@pytest.mark.parametrize(
    ("cpus", "shares"), [(1e-6, 2), (0.5, 512), (3.0, 3072), (1e6, 1 << 18), (None, None)]
)
def test_shares_of_processor_time(cpus: float | None, shares: int | None) -> None:
    spec = ContainerSpec("x", requests=Limits(cpus=cpus))
    assert spec.cpu_shares == shares


def test_a_share_too_small_to_count_is_still_a_limit() -> None:
    body = create_body(ContainerSpec("x", limits=Limits(cpus=1e-12)))
    assert body["HostConfig"]["NanoCpus"] > 0
