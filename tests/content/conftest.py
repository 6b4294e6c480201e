"""A real IPFS node for what needs one."""

from __future__ import annotations

import pytest
from tests.support import ipfs


@pytest.fixture
def ipfs_api() -> str:
    """Address of its RPC interface; skips where there is none."""
    return ipfs.api_or_skip()
