"""What can be known of images on a cluster: little, and most of it by a pod that ends at once.

A cluster has no call for images. Its nodes list some of those that they hold, and the status of
a pod says what exactly it ran; so a pod whose program does not exist tells which image a name means
there, and is gone a second later.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lading.engine.kubernetes.api import NODES, Api
from lading.engine.kubernetes.errors import Call
from lading.engine.kubernetes.mounts import Placed
from lading.engine.kubernetes.pod import amounts
from lading.engine.reference import Reference, is_image_id, parse
from lading.engine.spec import ContainerSpec, Exit, ImageInfo, Limits, PullStatus
from lading.errors import EngineDenied, EngineError, ImageFileNotFound, NotSupported

if TYPE_CHECKING:
    from lading.engine.base import Progress
    from lading.engine.kubernetes.engine import KubernetesEngine

__all__ = ["Images", "image_info", "no_images"]

_NEVER = ("/lading-never",)
"""A program that no image has."""
_MISSING, _NO_FILE, _DENIED = 44, 45, 46
_READ = (
    f'[ -e "$1" ] || exit {_MISSING}; [ -f "$1" ] || exit {_NO_FILE}; '
    f'[ -r "$1" ] || exit {_DENIED}; exec {{}}base64 "$1"'
)
_TOOLS = "/lading-tools"
_NO_PROGRAM = (126, 127, 128)
_DIGEST = re.compile(r"(?:(?P<name>[^@]+)@)?(?P<digest>sha256:[0-9a-f]{64})")
_SMALL = Limits(cpus=0.5, memory=64 << 20)
"""What such pods may use: a namespace with a quota takes none that does not say."""
_LARGEST_KEPT = 1 << 20
_MOST_KEPT = 64


def image_info(ref: str, identity: str, *, size: int = 0) -> ImageInfo:
    """Tell of an image what a cluster does.

    Parameters
    ----------
    ref : str
        As the caller named it.
    identity : str
        What ran: ``sha256:...`` of its configuration where it came from no registry, or
        ``name@sha256:...`` of its manifest; empty where nobody says.
    size : int
        Bytes, 0 where unknown.
    """
    found = _DIGEST.fullmatch(identity)
    digest = found["digest"] if found is not None else ""
    digests: tuple[str, ...] = ()
    reference = "" if digest else ref
    if found is not None and found["name"]:
        # Some runtimes make up a name for what was imported: nobody finds it by that.
        same = is_image_id(ref) or parse(found["name"]).name == parse(ref).name
        digests, reference = ((identity,), identity) if same else ((), ref)
    named = "" if is_image_id(ref) or "@" in ref else ref
    return ImageInfo(
        id=digest or ref,
        tags=(named,) if named else (),
        digests=digests,
        size=size,
        created=None,
        labels={},
        entrypoint=(),
        command=(),
        env={},
        user="",
        exposed=(),
        architecture="",
        reference=reference,
    )


def no_images(what: str) -> NotSupported:
    """Say that a cluster keeps no images."""
    return NotSupported(
        f"a cluster can't {what}: it fetches images from registries",
        fix="build it and push it with Docker or Podman (lading push --engine docker), and run it "
        "by its name or digest there",
    )


class Images:
    """What one client asks of images.

    Parameters
    ----------
    api : Api
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._no_nodes = False
        self._files: dict[tuple[str, str], bytes] = {}

    async def look(self, engine: KubernetesEngine, ref: str) -> ImageInfo:
        """Find which image a name means.

        Raises
        ------
        ImageNotFound, ImageNameInvalid
        """
        if is_image_id(ref):
            digest = f"sha256:{ref.removeprefix('sha256:')}"
            return replace(image_info(digest, digest), reference="")
        named = parse(ref)
        if named.digest:
            return image_info(ref, f"{named.name}@{named.digest}")
        if (known := await self._of_nodes(ref, named)) is not None:
            return known
        return await self._by_pod(engine, ref, "Never", None)

    async def pull(
        self, engine: KubernetesEngine, ref: str, progress: Progress | None
    ) -> ImageInfo:
        """Have a node fetch an image, and find what it is."""
        if not is_image_id(ref):
            parse(ref)
        return await self._by_pod(engine, ref, "Always", progress)

    async def _of_nodes(self, ref: str, named: Reference) -> ImageInfo | None:
        """Find it among what the nodes say that they have, if they agree and we may ask."""
        if self._no_nodes:
            return None
        try:
            nodes = await self._api.call("list", NODES, Call("looking at the nodes' images"))
        except EngineDenied:
            self._no_nodes = True
            return None
        found: dict[str, int] = {}
        for node in nodes.get("items") or ():
            for image in node.get("status", {}).get("images") or ():
                if digest := _digest_of(image.get("names") or (), named):
                    found[digest] = int(image.get("sizeBytes") or 0)
        if len(found) != 1:
            return None
        ((digest, size),) = found.items()
        return image_info(ref, f"{named.name}@{digest}", size=size)

    async def _by_pod(
        self, engine: KubernetesEngine, ref: str, policy: str, progress: Progress | None
    ) -> ImageInfo:
        def told(words: str) -> None:
            if progress is not None and words:
                progress(PullStatus(words))

        spec = ContainerSpec(
            ref,
            command=_NEVER,
            limits=_SMALL,
            placement=replace(engine.placement, pull_policy=policy),
        )
        container = await engine.create(spec)
        try:
            await container.start_any(told)
            await container.wait()
            return image_info(ref, container.ran)
        finally:
            await container.remove()

    # Files.

    async def read_file(
        self, engine: KubernetesEngine, image: str, path: str, labels: Mapping[str, str]
    ) -> bytes:
        """Read a file out of an image: by its own tools, or else by those of the helper's image.

        Raises
        ------
        ImageNotFound, ImageFileNotFound
        """
        key = (image, path) if is_image_id(image) or "@" in image else None
        if key is not None and key in self._files:
            return self._files[key]
        user = None
        own = True
        while True:
            end, text = await self._read(engine, image, path, labels, own=own, user=user)
            if own and (end.error or end.code in _NO_PROGRAM):
                own = False
            elif end.code == _DENIED and user is None:
                user = "0"
            else:
                break
        content = _content(image, path, end, text)
        if key is not None and len(content) <= _LARGEST_KEPT:
            if len(self._files) >= _MOST_KEPT:
                del self._files[next(iter(self._files))]
            self._files[key] = content
        return content

    async def _read(
        self,
        engine: KubernetesEngine,
        image: str,
        path: str,
        labels: Mapping[str, str],
        *,
        own: bool,
        user: str | None,
    ) -> tuple[Exit, bytes]:
        target = f"/{path.lstrip('/')}"
        tools = "" if own else f"{_TOOLS}/busybox "
        shell = ("sh",) if own else (f"{_TOOLS}/busybox", "sh")
        spec = ContainerSpec(
            image,
            command=(*shell, "-c", _READ.format(tools), "sh", target),
            labels=labels,
            limits=_SMALL,
            user=user,
        )
        placed = None if own else _tools(engine.options.cluster_helper)
        container = await engine.create(spec, placed)
        try:
            await container.start_any(None)
            end = await container.wait()
            pieces = [chunk.data async for chunk in container.logs()] if not end.error else []
            return end, b"".join(pieces)
        finally:
            await container.remove()


def _tools(helper: str) -> Placed:
    """Give a pod the helper's busybox, for images that have no tools of their own."""
    mount = {"name": "lading-tools", "mountPath": _TOOLS}
    taking = {
        "name": "lading-tools",
        "image": helper,
        "imagePullPolicy": "IfNotPresent",
        "command": ["busybox", "cp", "/proc/self/exe", f"{_TOOLS}/busybox"],
        "resources": {"limits": amounts(_SMALL)},
        "volumeMounts": [mount],
    }
    return Placed(({"name": "lading-tools", "emptyDir": {}},), (mount,), (taking,))


def _digest_of(names: list[str] | tuple[str, ...], wanted: Reference) -> str:
    """Find the digest of an image among the names that a node gives it."""
    tagged, digest = False, ""
    for name in names:
        if name.startswith("<none>"):
            continue
        try:
            found = parse(name)
        except EngineError:
            continue
        if found.name != wanted.name:
            continue
        if found.digest:
            digest = found.digest
        else:
            tagged = tagged or found.version == wanted.version
    return digest if tagged else ""


def _content(image: str, path: str, end: Exit, text: bytes) -> bytes:
    if end.code == _MISSING:
        raise ImageFileNotFound(
            image, f"holds no file {path}", fix="check the path, it is looked up from /"
        )
    if end.code == _NO_FILE:
        raise ImageFileNotFound(image, f"{path} is no regular file", fix="name a file")
    said = end.error or text.decode(errors="replace").strip()[-300:]
    if end.code == 0:
        try:
            return base64.b64decode(text)
        except binascii.Error:
            pass
    raise EngineError(f"reading {path} out of image {image} failed: {said}")
