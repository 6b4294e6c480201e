"""The verbs of a Docker or Podman engine that are about images and their registries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from lading.engine.base import Progress
from lading.engine.docker_api import Api
from lading.engine.docker_errors import Call, Thing, translate
from lading.engine.docker_streams import json_values, pull_status, stream_error
from lading.engine.docker_wire import header_json, image_info, query, segment
from lading.engine.reference import is_image_id, parse
from lading.engine.spec import ImageInfo
from lading.errors import ImageDenied

if TYPE_CHECKING:
    from lading.engine.registry_auth import Credentials

__all__ = ["DockerImages"]


class DockerImages:
    """What :class:`~lading.engine.docker.DockerEngine` does with images."""

    _api: Api
    _env: Mapping[str, str]

    @cached_property
    def _credentials(self) -> Credentials:
        from lading.engine.registry_auth import Credentials  # noqa: PLC0415

        return Credentials(self._env)

    async def image(self, ref: str) -> ImageInfo:
        """Look at an image that the engine has; never asks a registry."""
        if not is_image_id(ref):
            parse(ref)
        call = Call(f"looking at image {ref}", Thing.IMAGE, ref)
        return image_info(
            (await self._api.call("GET", f"/images/{segment(ref)}/json", call)).json()
        )

    async def pull(self, ref: str, progress: Progress | None = None) -> ImageInfo:
        """Fetch an image from its registry, with the credentials that are stored for it."""
        reference = parse(ref)
        call = Call(f"pulling image {ref}", Thing.PULL, ref)
        auth = await self._credentials.find(reference)
        headers = (("x-registry-auth", header_json(auth.as_json())),) if auth else ()
        path = f"/images/create{query(fromImage=reference.name, tag=reference.version)}"
        try:
            async with self._api.stream("POST", path, call, headers=headers) as response:
                async for value in json_values(response.chunks()):
                    if words := stream_error(value):
                        raise translate(call, None, words)
                    if progress and (status := pull_status(value)):
                        progress(status)
        except ImageDenied as error:
            if self._credentials.problems:
                error.fix = f"{error.fix} ({'; '.join(self._credentials.problems)})"
            raise
        return await self.image(str(reference))
