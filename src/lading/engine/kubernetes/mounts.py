"""What becomes of a directory of this machine in a pod: a volume, the node's, or a copy.

Copies live in one volume of the pod, each in a directory of its own. A container of the helper's
image takes them in before the others start; where something may be written to, another one stays
until the task has ended and we have taken that back, since a volume can be read only while a
container has it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lading.engine.spec import Mount
from lading.errors import ConfigError, EngineError

__all__ = [
    "IN",
    "KEEP",
    "PLACE",
    "Copy",
    "Placed",
    "Rules",
    "let_go",
    "place",
    "recall",
    "shell",
    "until_ready",
]

IN, KEEP = "lading-in", "lading-keep"
"""Names of the containers that copy in, and that keep what was written."""
PLACE = "/lading"
"""Where those have the volume with the copies."""
ANNOTATION = "lading/copies"

_VOLUME = "lading-files"
_ROOT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
_COPY, _NODE = "copy", "node"
_FIX = "write copy, node, or LOCAL_PATH=VOLUME, where VOLUME is pvc:CLAIM[/PATH] or node:/PATH"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which volume has what is below a local path."""

    local: PurePosixPath
    claim: str
    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class Rules:
    """How containers get at directories of this machine: ``--cluster-files``, read.

    Parameters
    ----------
    rules : tuple of Rule
        The longest local path first.
    on_node : bool
        Whether all others are the node's own, under the same path, instead of copies.
    """

    rules: tuple[Rule, ...] = ()
    on_node: bool = False

    @classmethod
    def read(cls, text: str) -> Rules:
        """Read them.

        Raises
        ------
        ConfigError
            They can't be understood.
        """
        rules, on_node = [], False
        for part in filter(None, (part.strip() for part in text.split(","))):
            if part in (_COPY, _NODE):
                on_node = part == _NODE
                continue
            local, equals, volume = part.partition("=")
            kind, _, rest = volume.partition(":")
            if not equals or not local.startswith("/") or kind not in ("pvc", "node"):
                raise ConfigError("cluster_files", f"{part!r} can't be understood", fix=_FIX)
            claim, _, path = rest.partition("/") if kind == "pvc" else ("", "", rest)
            if kind == "pvc" and not claim:
                raise ConfigError("cluster_files", f"{part!r} names no claim", fix=_FIX)
            if kind == "node" and not path.startswith("/"):
                raise ConfigError("cluster_files", f"{part!r} names no path of a node", fix=_FIX)
            rules.append(Rule(PurePosixPath(os.path.normpath(local)), claim, PurePosixPath(path)))
        rules.sort(key=lambda rule: len(rule.local.parts), reverse=True)
        return cls(tuple(rules), on_node)

    @property
    def shared(self) -> tuple[str, ...]:
        """Local paths below which a mount is the same files there, and no copy."""
        return ("/",) if self.on_node else tuple(str(rule.local) for rule in self.rules)

    def of(self, source: str) -> Rule | None:
        """Find the one for a path."""
        path = PurePosixPath(os.path.normpath(source))
        return next((rule for rule in self.rules if path.is_relative_to(rule.local)), None)


@dataclass(frozen=True, slots=True)
class Copy:
    """A mount that is a copy.

    Parameters
    ----------
    source, target : str
        Here, and in the container.
    name : str
        Where it is in the volume.
    directory : bool
        Whether it is a directory, or a file.
    read_only, returns : bool
        As of :class:`~lading.engine.spec.Mount`.
    """

    source: str
    target: str
    name: str
    directory: bool
    read_only: bool
    returns: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """What a pod gets for its mounts, in the API's own JSON.

    Parameters
    ----------
    volumes : tuple of mapping
        Of the pod.
    mounts : tuple of mapping
        ``volumeMounts`` of the task's container.
    init, keepers : tuple of mapping
        Containers that run before it, and beside it.
    copies : tuple of Copy
        What is to be copied in, and back.
    """

    volumes: tuple[Mapping[str, Any], ...] = ()
    mounts: tuple[Mapping[str, Any], ...] = ()
    init: tuple[Mapping[str, Any], ...] = ()
    keepers: tuple[Mapping[str, Any], ...] = ()
    copies: tuple[Copy, ...] = ()

    @property
    def returning(self) -> tuple[Copy, ...]:
        """Those that are copied back when the task has ended."""
        return tuple(copy for copy in self.copies if copy.returns and not copy.read_only)

    def annotation(self) -> dict[str, str]:
        """Write what :func:`recall` reads from the pod."""
        return (
            {ANNOTATION: json.dumps([asdict(copy) for copy in self.copies])} if self.copies else {}
        )

    def copy_of(self, path: str) -> tuple[Copy, PurePosixPath] | None:
        """Find the writable copy that a path of the container is in, and where in the volume."""
        wanted = PurePosixPath(os.path.normpath(path))
        for copy in sorted(self.copies, key=lambda copy: len(copy.target), reverse=True):
            if wanted.is_relative_to(copy.target):
                if copy.read_only:
                    return None
                return copy, PurePosixPath(copy.name) / wanted.relative_to(copy.target)
        return None


def recall(pod: Mapping[str, Any]) -> Placed:
    """Know again from a pod what was copied to it."""
    metadata, spec = pod["metadata"], pod["spec"]
    listed = json.loads((metadata.get("annotations") or {}).get(ANNOTATION, "[]"))
    keepers = tuple(item for item in spec["containers"] if item["name"] == KEEP)
    return Placed(keepers=keepers, copies=tuple(Copy(**item) for item in listed))


def place(mounts: Iterable[Mount], rules: Rules, *, helper: str, user: str | None = None) -> Placed:
    """Decide what a pod gets for its mounts; looks at what is here, so not on the event loop.

    Parameters
    ----------
    helper : str
        Image with a busybox.
    user : str or None
        As of the spec: one that is no number is looked up in an image that we can't see.

    Raises
    ------
    EngineError
        There is no such file or directory here to be copied.
    """
    volumes: dict[str, Mapping[str, Any]] = {}
    into: list[Mapping[str, Any]] = []
    copies: list[Copy] = []
    for mount in sorted(mounts, key=lambda mount: len(PurePosixPath(mount.target).parts)):
        rule = rules.of(mount.source)
        if rule is None and not rules.on_node:
            copy = _copy(mount, len(copies))
            copies.append(copy)
            at = {"name": _VOLUME, "subPath": copy.name}
        elif rule is not None and rule.claim:
            within = rule.path / PurePosixPath(os.path.normpath(mount.source)).relative_to(
                rule.local
            )
            name = f"lading-claim-{list(_claims(rules)).index(rule.claim)}"
            volumes[name] = {"name": name, "persistentVolumeClaim": {"claimName": rule.claim}}
            at = (
                {"name": name}
                if within == PurePosixPath()
                else {
                    "name": name,
                    "subPath": str(within),
                }
            )
        else:
            path = PurePosixPath(os.path.normpath(mount.source))
            if rule is not None:
                path = rule.path / path.relative_to(rule.local)
            name = f"lading-node-{len(into)}"
            volumes[name] = {"name": name, "hostPath": {"path": str(path)}}
            at = {"name": name}
        into.append({**at, "mountPath": mount.target, "readOnly": mount.read_only})
    if not copies:
        return Placed(tuple(volumes.values()), tuple(into))
    volumes[_VOLUME] = {"name": _VOLUME, "emptyDir": {}}
    taking = _container(IN, helper, user, _wait("trap 'exit 1' TERM; ", IN))
    # It does not end with the task at a request to end: what was written is taken first.
    keeping = _container(KEEP, helper, user, _wait("trap '' TERM; ", KEEP))
    return Placed(
        tuple(volumes.values()),
        tuple(into),
        (taking,),
        (keeping,) if any(not copy.read_only for copy in copies) else (),
        tuple(copies),
    )


def shell(script: str, *words: str) -> list[str]:
    """Write the command that runs a script with the helper's busybox; `words` are $1 and so on."""
    return ["busybox", "sh", "-c", script, "sh", *words]


def let_go(container: str) -> str:
    """Write the script that ends a container that waits: the one that takes in, or that keeps."""
    return f"echo go >{PLACE}/.{container}"


def until_ready(container: str) -> str:
    """Write the script that waits for it: one counts as running before its program has begun."""
    return f"until [ -p {PLACE}/.{container} ]; do busybox sleep 0.05; done"


def _wait(first: str, container: str) -> list[str]:
    path = f"{PLACE}/.{container}"
    return shell(f"{first}busybox mkfifo -m 600 {path}; busybox cat {path} >/dev/null & wait $!")


def _claims(rules: Rules) -> dict[str, None]:
    return dict.fromkeys(rule.claim for rule in rules.rules if rule.claim)


def _copy(mount: Mount, number: int) -> Copy:
    try:
        mode = Path(mount.source).stat().st_mode
    except OSError as error:
        raise EngineError(
            f"{mount.source} can't be copied to the cluster: {error.strerror}",
            fix="create it first",
        ) from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise EngineError(
            f"{mount.source} can't be copied to the cluster: it is neither a file nor a directory",
            fix="give it as a volume that the cluster has: --cluster-files",
        )
    name = PurePosixPath(mount.target).name or "root"
    return Copy(
        os.path.realpath(mount.source),
        os.path.normpath(mount.target),
        f"{number}/{name}",
        stat.S_ISDIR(mode),
        mount.read_only,
        mount.returns,
    )


def _container(name: str, image: str, user: str | None, command: list[str]) -> dict[str, Any]:
    security: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    owner, _, group = (user or "").partition(":")
    if owner.isdigit() and int(owner):
        # What it makes belongs to that user then, who may be the only one that the namespace lets.
        security |= {"runAsUser": int(owner), "runAsNonRoot": True}
        security |= {"runAsGroup": int(group)} if group.isdigit() else {}
        security["capabilities"] = {"drop": ["ALL"]}
    else:
        security |= {"runAsUser": 0, "runAsGroup": 0}
        security["capabilities"] = {"drop": ["ALL"], "add": list(_ROOT_CAPABILITIES)}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": security,
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "1", "memory": "128Mi"},
        },
        "volumeMounts": [{"name": _VOLUME, "mountPath": PLACE}],
    }
