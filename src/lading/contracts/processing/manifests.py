"""Pieces of a cluster's manifests, as people have them: in JSON, or made by a Python client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lading.contracts.processing.reading.values import json_kind
from lading.errors import InputError

__all__ = ["in_json", "list_in_json", "texts"]

_AS_THEY_ARE = frozenset(
    ("labels", "annotations", "matchLabels", "nodeSelector", "volumeAttributes", "requests",
     "limits", "options")
)  # fmt: skip
"""Fields whose keys are the user's."""
_ODD = {
    "api_group": "apiGroup",
    "dataset_uuid": "datasetUUID",
    "disk_uri": "diskURI",
    "downward_api": "downwardAPI",
    "io_ops": "ioOps",
    "pd_id": "pdID",
    "scale_io": "scaleIO",
    "storage_policy_id": "storagePolicyID",
    "target_ww_ns": "targetWWNs",
    "volume_id": "volumeID",
}
"""Names that are not just written with humps."""
_HUMP = re.compile(r"_([a-z0-9])")


def in_json(value: object, field: str) -> dict[str, Any]:
    """Read one object, with the names that it has in JSON.

    Parameters
    ----------
    value
        A mapping, or what a Kubernetes client for Python made; names may be that client's
        (``claim_name``), what is None is left out.
    field : str
        What to call it in an error.

    Raises
    ------
    InputError
        It is no object.
    """
    found = _plain(value)
    if not isinstance(found, dict):
        raise InputError(field, f"must be an object, not {json_kind(value)}")
    return found


def list_in_json(value: object, field: str) -> tuple[dict[str, Any], ...]:
    """Read a list of objects, see :func:`in_json`; None is an empty one.

    Raises
    ------
    InputError
        It is no list, or holds what is no object; names the place.
    """
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise InputError(field, f"must be a list, not {json_kind(value)}")
    return tuple(in_json(item, f"{field}[{number}]") for number, item in enumerate(value))


def texts(value: object, field: str) -> dict[str, str]:
    """Read an object whose values are texts; None is an empty one.

    Raises
    ------
    InputError
        It is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(field, f"must be an object of texts, not {json_kind(value)}")
    for key, item in value.items():
        if not isinstance(item, str):
            raise InputError(
                f"{field}.{key}", f"must be a text, not {json_kind(item)}", fix=f'write "{item}"'
            )
    return dict(value)


def _plain(value: Any, *, keys: bool = True) -> Any:
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        value = to_dict()
    if isinstance(value, Mapping):
        found = {}
        for key, item in value.items():
            if item is not None:
                name = _humped(str(key)) if keys else str(key)
                found[name] = _plain(item, keys=name not in _AS_THEY_ARE)
        return found
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _humped(name: str) -> str:
    return _ODD.get(name) or _HUMP.sub(lambda match: match[1].upper(), name)
