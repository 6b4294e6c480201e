"""Building an image by a Docker or Podman engine."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping

from lading.engine.base import Progress
from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_images import DockerImages
from lading.engine.docker_streams import build_status, json_values, stream_error
from lading.engine.docker_wire import header_json, query
from lading.engine.reference import parse
from lading.engine.spec import ImageInfo
from lading.errors import BuildFailed

__all__ = ["DockerBuilds"]

_LAST_LINES = 20


class DockerBuilds(DockerImages):
    """What :class:`~lading.engine.docker.DockerEngine` does with a build context."""

    _podman: bool

    async def build(
        self,
        context: bytes,
        tag: str,
        *,
        args: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> ImageInfo:
        """Build an image from a tar archive that holds a ``Dockerfile`` at its root."""
        reference = parse(tag)
        call = Call(f"building image {tag}", Thing.BUILD, tag)
        fields = query(
            t=str(reference) if self._podman else tag,  # Podman says localhost/ for no registry
            rm=1,
            forcerm=1,
            buildargs=json.dumps(dict(args)) if args else None,
            labels=json.dumps(dict(labels)) if labels else None,
        )
        known = await self._credentials.all()
        headers = (("x-registry-config", header_json(known)),) if known else ()
        tail: deque[str] = deque(maxlen=_LAST_LINES)
        async with self._api.stream(
            "POST", f"/build{fields}", call, raw=context, headers=headers
        ) as response:
            async for value in json_values(response.chunks()):
                status = build_status(value, tail)
                if words := stream_error(value):
                    raise BuildFailed(tag, "\n".join((f"{words}; its last lines:", *tail)))
                if progress and status:
                    progress(status)
        return await self.image(tag)
