"""Where and as whom a task runs on a cluster: what its config says, in the engine's words.

Contract 2, "task.json", the config of type ``k8s``. Beside the fields that the contract names,
these of a pod are understood: ``nodeSelector``, ``tolerations``, ``affinity``,
``serviceAccountName`` (or ``serviceAccount``), ``priorityClassName``, ``imagePullPolicy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.manifests import in_json, list_in_json, texts
from lading.engine import Placement, RegistryLogin
from lading.errors import InputError

if TYPE_CHECKING:
    from lading.contracts.processing.task import BaseConfig, K8sConfig

__all__ = ["CREDENTIALS", "login_of", "odd_fields", "placement_of"]

CREDENTIALS = ("registryUrl", "registryUsername", "registryPassword")
_EXTRA = frozenset(
    ("nodeSelector", "tolerations", "affinity", "serviceAccount", "serviceAccountName",
     "priorityClassName", "imagePullPolicy")
)  # fmt: skip
_POLICIES = ("", "Always", "IfNotPresent", "Never")


def placement_of(config: BaseConfig | None) -> Placement:
    """Read where a task runs on a cluster.

    Parameters
    ----------
    config : BaseConfig or None
        One that is no cluster's says nothing of it.

    Raises
    ------
    InputError
        A field is of another type than it must be, or only some of the credentials of a registry
        are there; names it.
    """
    from lading.contracts.processing.task import K8sConfig  # noqa: PLC0415

    if not isinstance(config, K8sConfig):
        return Placement()
    extra = _extra(config)
    policy = _text(extra, "imagePullPolicy")
    if policy not in _POLICIES:
        known = ", ".join(filter(None, _POLICIES))
        raise InputError("config.imagePullPolicy", f"{policy!r} is none", fix=f"write {known}")
    return Placement(
        namespace=config.namespace or "",
        annotations=texts(config.annotations, "config.annotations"),
        node_selector=texts(extra.get("nodeSelector"), "config.nodeSelector"),
        tolerations=list_in_json(extra.get("tolerations"), "config.tolerations"),
        affinity=in_json(extra.get("affinity") or {}, "config.affinity"),
        service_account=_text(extra, "serviceAccountName") or _text(extra, "serviceAccount"),
        priority_class=_text(extra, "priorityClassName"),
        pull_secrets=tuple(config.imagePullSecrets or ()),
        registry=login_of(config),
        pull_policy=policy,
        more_env=list_in_json(config.env_vars, "config.env_vars"),
        more_volumes=list_in_json(config.volumes, "config.volumes"),
        more_mounts=list_in_json(config.volume_mounts, "config.volume_mounts"),
    )


def login_of(config: K8sConfig) -> RegistryLogin | None:
    """Read the credentials for the registry of a task's image; None where there are none.

    Raises
    ------
    InputError
        Only some of them are there.
    """
    missing = [name for name in CREDENTIALS if not getattr(config, name)]
    if len(missing) == len(CREDENTIALS):
        return None
    if missing:
        raise InputError(
            "config", f"has no {' and no '.join(missing)}", fix="give all three, or none"
        )
    return RegistryLogin(
        config.registryUrl or "", config.registryUsername or "", config.registryPassword or ""
    )


def odd_fields(config: BaseConfig | None) -> list[str]:
    """Tell of fields of a cluster's config that nobody understands."""
    from lading.contracts.processing.task import K8sConfig  # noqa: PLC0415

    if not isinstance(config, K8sConfig):
        return []
    return [
        f"config.{name} is not understood and left out"
        for name in sorted(_extra(config).keys() - _EXTRA)
    ]


def _extra(config: K8sConfig) -> dict[str, Any]:
    return in_json(config.model_extra or {}, "config")


def _text(extra: Mapping[str, Any], name: str) -> str:
    value = extra.get(name) or ""
    if not isinstance(value, str):
        raise InputError(f"config.{name}", f"must be a text, not {value!r}")
    return value
