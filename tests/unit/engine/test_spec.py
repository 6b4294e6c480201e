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


def test_a_share_too_small_to_count_is_still_a_limit() -> None:
    body = create_body(ContainerSpec("x", limits=Limits(cpus=1e-12)))
    assert body["HostConfig"]["NanoCpus"] > 0
