"""Labels as a cluster takes them, and names.

Kubernetes takes 63 characters of few kinds; Lading's labels hold paths, sentences, anything. What
does not fit is put there as a hash, so that it can be selected all the same, and in its own words
into an annotation.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/names/.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "CLIENT_LABEL",
    "ID_LABEL",
    "LABELS_ANNOTATION",
    "NETWORK_LABEL",
    "labels_of",
    "metadata",
    "object_name",
    "selector",
]

ID_LABEL = "lading.id"
"""Which of all that ever had its name it is."""
CLIENT_LABEL = "lading.client"
"""Which client made it: that is what one watch is about."""
NETWORK_LABEL = "lading.network"
"""The network it is attached to: what a policy selects."""
LABELS_ANNOTATION = "lading/labels"

_OURS = frozenset({ID_LABEL, CLIENT_LABEL, NETWORK_LABEL})
_LONGEST = 63
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_KEY = re.compile(rf"(?:(?P<domain>{_DOMAIN})/)?{_PART}")
_VALUE = re.compile(rf"(?:{_PART})?")
_LONGEST_DOMAIN = 253


def _key(text: str) -> str:
    found = _KEY.fullmatch(text)
    if found is not None and len(found["domain"] or "") <= _LONGEST_DOMAIN:
        return text
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:40].rstrip("-_.")
    return f"{readable}-{_hash(text)[:12]}".lstrip("-")


def _value(text: str) -> str:
    return text if _VALUE.fullmatch(text) else f"h-{_hash(text)[:32]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def metadata(labels: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Write labels as labels and annotations of an object."""
    written = {_key(key): _value(value) for key, value in labels.items()}
    if written == dict(labels):
        return written, {}
    text = json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":"))
    return written, {LABELS_ANNOTATION: text}


def selector(labels: Mapping[str, str]) -> str:
    """Write what selects the objects that carry all these labels (an empty value: any)."""
    return ",".join(
        f"{_key(key)}={_value(value)}" if value else _key(key) for key, value in labels.items()
    )


def labels_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Read the labels of an object as they were before :func:`metadata`."""
    meta = found["metadata"]
    there: dict[str, str] = {
        key: value for key, value in (meta.get("labels") or {}).items() if key not in _OURS
    }
    text = (meta.get("annotations") or {}).get(LABELS_ANNOTATION)
    if text is None:
        return there
    try:
        kept = json.loads(text)
    except ValueError:
        return there
    if not isinstance(kept, dict):
        return there
    for key, value in kept.items():
        # Somebody may have changed a label since: then the label counts.
        if there.pop(_key(key), None) == _value(str(value)):
            there[key] = str(value)
    return there


def object_name(text: str) -> str:
    """Make a name that a pod can have: lower case, 63 characters, nothing but ``a-z0-9-``."""
    name = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    if len(name) > _LONGEST:
        name = f"{name[:50].rstrip('-')}-{_hash(text)[:12]}"
    return name or f"lading-{_hash(text)[:12]}"
