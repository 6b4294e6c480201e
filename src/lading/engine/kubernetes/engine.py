"""The Kubernetes driver: a namespace of a cluster as an engine, its containers as pods.

Source: Kubernetes API 1.20 to 1.34, https://kubernetes.io/docs/reference/kubernetes-api/.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from lading.engine.kubernetes.api import NODES, PODS, Api, Kind
from lading.engine.kubernetes.config import find_access
from lading.engine.kubernetes.container import Cluster, KubernetesContainer
from lading.engine.kubernetes.dialling import must_stream
from lading.engine.kubernetes.errors import Call, Thing
from lading.engine.kubernetes.images import Images, no_images
from lading.engine.kubernetes.labels import ID_LABEL, object_name, selector
from lading.engine.kubernetes.life import Life, described
from lading.engine.kubernetes.mounts import Placed, Rules, place, recall
from lading.engine.kubernetes.networks import WARNINGS, Networks
from lading.engine.kubernetes.pod import refuse
from lading.engine.kubernetes.pods import Pods
from lading.engine.kubernetes.room import room
from lading.engine.kubernetes.starting import Events
from lading.engine.kubernetes.state import container_info, identity
from lading.engine.kubernetes.streams import Forwards
from lading.engine.reference import is_image_id, parse
from lading.engine.spec import (
    ContainerInfo,
    ContainerSpec,
    EngineInfo,
    ImageInfo,
    NetworkInfo,
    NetworkSpec,
    Placement,
    State,
)
from lading.errors import ContainerNotFound, EngineDenied, EngineTooOld, NameTaken

if TYPE_CHECKING:
    from lading.engine.base import Progress
    from lading.settings import EngineOptions

__all__ = ["KubernetesEngine"]

_OLDEST = (1, 19)
_INFO_SECONDS = 10.0
_RUNTIMES = Kind("runtimeclasses", "node.k8s.io", namespaced=False)
_NO_PLACEMENT = Placement()


class KubernetesEngine:
    """A namespace of a cluster, see :class:`~lading.engine.base.Engine`; made by :meth:`open`.

    Attributes
    ----------
    options : EngineOptions
    placement : Placement
        Where what brings no placement is made.
    """

    def __init__(
        self, api: Api, options: EngineOptions, env: Mapping[str, str], version: tuple[str, str]
    ) -> None:
        self.options = options
        self.placement = _NO_PLACEMENT
        self._api = api
        self._env = env
        self._version = version
        self._rules = Rules.read(options.cluster_files)
        self._pods = Pods(api, options)
        self._cluster = Cluster(self._pods, Events(api), Forwards(api))
        self._networks = Networks(api)
        self._images = Images(api)
        self._info: tuple[float, EngineInfo] | None = None

    @classmethod
    async def open(cls, address: str, *, options: EngineOptions, env: Mapping[str, str]) -> Self:
        """Find a cluster, and see that it is new enough.

        Parameters
        ----------
        address : str
            ``kubernetes://CONTEXT/NAMESPACE``, of which both may be left out.
        options : EngineOptions
        env : mapping
            The environment: where a kubeconfig, or our own pod's account, is found.

        Raises
        ------
        EngineUnreachable, EngineTooOld, CredentialsRefused, NotSupported, ConfigError, EngineError
            It does not answer; or can't be used, for the reason in the message.
        """
        access = await asyncio.to_thread(find_access, address, env)
        api = Api(access, options.engine_timeout)
        try:
            found = await api.raw("GET", "/version", Call("connecting"))
            version = str(found.get("gitVersion") or "")
            parts = version.lstrip("v").split(".")[:2]
            numbers = tuple(int(part) for part in parts if part.isdigit())
            if numbers < _OLDEST:
                raise EngineTooOld(
                    f"the cluster at {access.server} is Kubernetes {version}, and 1.19 is the "
                    "oldest that can be used",
                    fix="upgrade it, or use another",
                )
            return cls(api, options, env, (version, f"v{numbers[0]}.{numbers[1]}"))
        except BaseException:
            await api.close()
            raise

    async def info(self) -> EngineInfo:
        """What it is and has; what was true in the last ten seconds may be given."""
        now = asyncio.get_running_loop().time()
        if self._info is None or now - self._info[0] > _INFO_SECONDS:
            there, runtimes, gpus = await asyncio.gather(
                room(self._api, self.namespace), self._runtimes(), self._has_gpus()
            )
            version, api_version = self._version
            info = EngineInfo(
                kind="kubernetes",
                address=self._api.access.address,
                version=version,
                api_version=api_version,
                runtimes=runtimes,
                default_runtime="",
                cgroup_version=0,
                gpu_driver=gpus,
                cpus=there.cpus,
                memory=there.memory,
                rootless=False,
                local=False,
                warnings=WARNINGS,
                shared=self._rules.shared,
                helper=self.options.cluster_helper,
            )
            self._info = (now, info)
        return self._info[1]

    async def _runtimes(self) -> tuple[str, ...]:
        try:
            found = await self._api.call("list", _RUNTIMES, Call("listing the runtime classes"))
        except EngineDenied:
            return ()
        return tuple(item["metadata"]["name"] for item in found.get("items") or ())

    async def _has_gpus(self) -> bool:
        try:
            found = await self._api.call("list", NODES, Call("looking at the nodes"))
        except EngineDenied:
            return True  # nobody may say that there are none
        return any(
            name.endswith(".com/gpu") and amount != "0"
            for node in found.get("items") or ()
            for name, amount in (node.get("status", {}).get("allocatable") or {}).items()
        )

    @property
    def namespace(self) -> str:
        """Where its containers are, unless their placement says otherwise."""
        return self.placement.namespace or self._api.access.namespace

    def placed(self, placement: Placement) -> Self:
        """Return this engine as one that looks for images where `placement` says."""
        there = copy.copy(self)
        there.placement = placement
        return there

    # Images.

    async def image(self, ref: str) -> ImageInfo:
        """Find which image a name means: from what nodes say, or by a pod that ends at once."""
        return await self._images.look(self, ref)

    async def pull(self, ref: str, progress: Progress | None = None) -> ImageInfo:
        """Have a node fetch an image, and find what it is."""
        return await self._images.pull(self, ref, progress)

    async def push(self, ref: str, progress: Progress | None = None) -> str:  # noqa: ARG002
        """Refuse: a cluster has no images to push."""
        raise no_images("push images")

    async def tag(self, image: str, ref: str) -> None:  # noqa: ARG002
        """Refuse: a cluster names no images."""
        raise no_images("give images names")

    def save(self, image: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:  # noqa: ARG002
        """Refuse: a cluster hands out no images."""
        raise no_images("save images")

    async def load(self, archive: AsyncIterable[bytes]) -> ImageInfo:  # noqa: ARG002
        """Refuse: a cluster takes no images but from registries."""
        raise no_images("load images")

    async def remove_image(self, ref: str) -> None:  # noqa: ARG002
        """Refuse: nodes remove images themselves."""
        raise no_images("remove images, which its nodes do when they need the room")

    async def build(
        self,
        context: bytes | AsyncIterable[bytes],  # noqa: ARG002
        tag: str,  # noqa: ARG002
        *,
        args: Mapping[str, str] | None = None,  # noqa: ARG002
        labels: Mapping[str, str] | None = None,  # noqa: ARG002
        platform: str | None = None,  # noqa: ARG002
        target: str | None = None,  # noqa: ARG002
        network: bool = True,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> ImageInfo:
        """Refuse: a cluster builds nothing."""
        raise no_images("build images")

    async def read_file(
        self, image: str, path: str, *, labels: Mapping[str, str] | None = None
    ) -> bytes:
        """Read one file out of an image, by a pod of it that runs nothing of its own."""
        return await self._images.read_file(self, image, path, labels or {})

    # Containers.

    async def create(
        self, spec: ContainerSpec, placed: Placed | None = None
    ) -> KubernetesContainer:
        """Make a container: it is on the cluster once it is started, which says now if it could.

        Parameters
        ----------
        spec : ContainerSpec
        placed : Placed or None
            What its pod gets instead of what its mounts become.
        """
        if not is_image_id(spec.image):
            parse(spec.image)
        refuse(spec)
        if spec.placement is None and self.placement is not _NO_PLACEMENT:
            spec = replace(spec, placement=self.placement)
        namespace = (spec.placement or self.placement).namespace or self.namespace
        life = Life(namespace, "", spec)
        life.name = object_name(spec.name) if spec.name else f"lading-{life.nonce}"
        if (namespace, life.name) in self._pods.lives:
            raise NameTaken(
                f"the container name {life.name!r} is taken",
                status=409,
                fix="remove it, or choose another",
            )
        if is_image_id(spec.image) and not spec.image.startswith("sha256:"):
            spec = life.spec = replace(spec, image=f"sha256:{spec.image}")
        if placed is not None:
            life.placed = placed
        elif spec.mounts:
            life.placed = await asyncio.to_thread(
                place, spec.mounts, self._rules, helper=self.options.cluster_helper, user=spec.user
            )
        if life.placed.copies:
            await must_stream(f"copying files to container {life.name}")
        elif spec.ports and not self._api.access.in_cluster:
            await must_stream(f"reaching a port of container {life.name}")
        await self._networks.check(spec.network, namespace)
        await asyncio.gather(self._pods.check(life), self._pods.watch(namespace))
        self._pods.lives[namespace, life.name] = life
        return KubernetesContainer(self._cluster, life)

    async def container(self, id_or_name: str) -> KubernetesContainer:
        """Find a container: by its id, ``NAMESPACE/NAME``, or the name that it got."""
        namespace, name, nonce = self._parts(id_or_name)
        life = self._pods.lives.get((namespace, name))
        if life is None:
            life = Life(namespace, name)
            pod = await self._pods.look(life)
            life.begun.set()
            life.placed = recall(pod)
        if nonce and life.id != id_or_name:
            raise ContainerNotFound(f"no such container: {id_or_name}", status=404)
        return KubernetesContainer(self._cluster, life)

    def _parts(self, text: str) -> tuple[str, str, str]:
        parts = text.split("/")
        match parts:
            case [namespace, name, nonce]:
                return namespace, name, nonce
            case [namespace, name]:
                return namespace, object_name(name), ""
            case [name] if name:
                return self.namespace, object_name(name), ""
        raise ContainerNotFound(f"no such container: {text}", status=404)

    async def containers(self, labels: Mapping[str, str]) -> list[ContainerInfo]:
        """All containers of its namespace that carry all these labels (an empty value: any)."""
        wanted = ",".join(filter(None, (ID_LABEL, selector(labels))))
        call = Call("listing containers", Thing.POD)
        listed = await self._api.call(
            "list", PODS, call, namespace=self.namespace, query={"labelSelector": wanted}
        )
        pods = listed.get("items") or []
        there = {identity(pod) for pod in pods}
        found = [container_info(pod) for pod in pods]
        for life in self._pods.lives.values():
            if life.namespace != self.namespace or life.id in there:
                continue
            if not life.begun.is_set():
                found.append(described(life, State.CREATED))
            elif life.stopped and life.end is not None:
                found.append(described(life, State.EXITED))
        return [info for info in found if _carries(info.labels, labels)]

    # Networks.

    async def create_network(self, spec: NetworkSpec) -> NetworkInfo:
        """Make a network: a policy for all that is on it."""
        return await self._networks.create(spec, self.namespace)

    async def networks(self, labels: Mapping[str, str] | None = None) -> list[NetworkInfo]:
        """All networks that carry all these labels (an empty value: any)."""
        return await self._networks.listed(labels or {}, self.namespace)

    async def remove_network(self, name: str) -> None:
        """Remove a network; nothing if there is none."""
        await self._networks.remove(name, self.namespace)

    async def open_door(self, labels: Mapping[str, str]) -> None:  # noqa: ARG002
        """See to the policy of those without a network: it leaves the way in open."""
        await self._networks.cut_off(self.namespace)

    async def close(self) -> None:
        """Let go of every connection; containers are not touched."""
        self._info = None
        await self._cluster.forwards.close()
        await self._pods.close()
        await self._api.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def _carries(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())
