"""Networks as policies."""

from __future__ import annotations

from typing import Any

import pytest

from lading.engine.kubernetes.networks import policy
from lading.engine.spec import NetworkSpec

MEMBERS = {"podSelector": {"matchLabels": {"lading.network": "my-net"}}}
STRANGERS = {
    "namespaceSelector": {},
    "podSelector": {"matchExpressions": [{"key": "lading.network", "operator": "DoesNotExist"}]},
}


@pytest.mark.parametrize(
    ("internal", "isolated", "ingress", "egress"),
    [
        (False, False, [MEMBERS, STRANGERS], None),
        (False, True, [STRANGERS], None),
        (True, False, [MEMBERS, STRANGERS], [{"to": [MEMBERS]}]),
        (True, True, [STRANGERS], []),
    ],
)
def test_who_reaches_whom(
    internal: bool, isolated: bool, ingress: list[Any], egress: list[Any] | None
) -> None:
    spec = NetworkSpec("My_net", {"lading.owner": "o"}, internal=internal, isolated=isolated)
    made = policy(spec)
    assert made["metadata"]["name"] == "my-net"
    assert made["metadata"]["labels"]["lading.owner"] == "o"
    rules = made["spec"]
    assert rules["podSelector"] == MEMBERS["podSelector"]
    assert rules["ingress"] == [{"from": ingress}]
    assert rules.get("egress") == egress
    assert rules["policyTypes"] == ["Ingress", *(["Egress"] if internal else [])]
