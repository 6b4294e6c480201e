"""What one client knows of one pod, from before it exists until nothing is left of it."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lading.engine.kubernetes.errors import Call, Thing
from lading.engine.kubernetes.mounts import Placed
from lading.engine.kubernetes.state import container_info, exit_of, identity
from lading.engine.spec import ContainerInfo, ContainerSpec, Exit, State
from lading.errors import ContainerNotFound

if TYPE_CHECKING:
    from lading.engine.kubernetes.files import Files

__all__ = ["Life", "described"]

Pod = dict[str, Any]


class Life:
    """One pod, from before it exists until nothing is left of it; its handles look at this.

    Parameters
    ----------
    namespace, name : str
    spec : ContainerSpec or None
        None for one that somebody else made.
    placed : Placed
        What it gets for its mounts.

    Attributes
    ----------
    nonce : str
        What tells it from others of its name.
    pod : dict or None
        The last that is known of it.
    begun : asyncio.Event
        Set once it may be on the cluster, or never will.
    end : Exit or None
        How it ended, also where the cluster has forgotten it.
    stopped : bool
        Whether we asked for its end, so that it may go without having been removed.
    removed : bool
        Whether its removal has begun.
    log : bytes or None
        What it wrote, where the cluster has forgotten that.
    files : Files or None
        Its files, once somebody asked for them.
    taken : asyncio.Future or None
        What it wrote into copies, being taken back.
    created : datetime
        When it was ordered.
    """

    def __init__(
        self,
        namespace: str,
        name: str,
        spec: ContainerSpec | None = None,
        placed: Placed | None = None,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.spec = spec
        self.placed = placed or Placed()
        self.nonce = secrets.token_hex(6)
        self.pod: Pod | None = None
        self.begun = asyncio.Event()
        self.end: Exit | None = None
        self.stopped = False
        self.removed = False
        self.log: bytes | None = None
        self.files: Files | None = None
        self.taken: asyncio.Future[None] | None = None
        self.created = datetime.now(UTC)

    @property
    def id(self) -> str:
        """What it is known by."""
        if self.pod is not None:
            return identity(self.pod)
        return f"{self.namespace}/{self.name}/{self.nonce}"

    @property
    def uid(self) -> str:
        """What the cluster knows it by; empty if it was not made yet."""
        return str(self.pod["metadata"]["uid"]) if self.pod is not None else ""

    def learn(self, pod: Pod) -> None:
        """Keep what was seen of it."""
        self.pod = pod
        if self.end is None:
            self.end = exit_of(pod)

    def call(self, doing: str) -> Call:
        """Say what is asked about it."""
        image = self.spec.image if self.spec is not None else ""
        return Call(f"{doing} container {self.name}", Thing.POD, image)

    def gone(self) -> ContainerNotFound:
        """Say that it is no more."""
        return ContainerNotFound(f"no such container: {self.name}", status=404)


def described(life: Life, state: State) -> ContainerInfo:
    """Tell of a container that the cluster does not know (yet, or any more)."""
    if life.pod is not None:
        info = container_info(life.pod)
        return ContainerInfo(
            id=info.id,
            name=info.name,
            image=info.image,
            image_id=info.image_id,
            state=state,
            labels=info.labels,
            created=info.created,
            exit=life.end if state is State.EXITED else None,
            limits=info.limits,
        )
    spec = life.spec
    assert spec is not None
    return ContainerInfo(
        id=life.id,
        name=life.name,
        image=spec.image,
        image_id="",
        state=state,
        labels=dict(spec.labels),
        created=life.created,
        limits=spec.limits,
        networks={str(spec.network): ""},
    )
