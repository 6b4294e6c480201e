"""The networks that tasks are attached to, where they are not sealed."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lading.engine import Network
from lading.errors import LadingError, NameTaken, NotSupported

if TYPE_CHECKING:
    from lading.engine import Engine, NetworkSpec

__all__ = ["Attachment", "Networks"]

log = logging.getLogger("lading.meca")


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where one container is attached.

    Parameters
    ----------
    network : str
        What its spec says.
    own : bool
        Whether that network was made for it alone, and goes with it.
    """

    network: str
    own: bool = False


class Networks:
    """Makes networks when they are first needed, and removes them.

    One network for all tasks, in which none can reach another; or, on an engine that can't keep the
    containers of one network apart, a network for each.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shared: set[str] = set()
        self._can_share = True
        self._turn = asyncio.Lock()

    async def attach(self, spec: NetworkSpec | None) -> Attachment:
        """Find or make the network of a container that is about to be created.

        Parameters
        ----------
        spec : NetworkSpec or None
            What all tasks of its kind share; None is no network at all.

        Raises
        ------
        EngineError
            It can't be made.
        """
        if spec is None:
            return Attachment(Network.NONE)
        async with self._turn:
            if self._can_share and spec.name not in self._shared:
                self._can_share = await self._make_shared(spec)
        if self._can_share:
            return Attachment(spec.name)
        name = f"{spec.name}_{secrets.token_hex(4)}"
        await self._engine.create_network(dataclasses.replace(spec, name=name, isolated=False))
        return Attachment(name, own=True)

    async def release(self, attachment: Attachment) -> None:
        """Remove the network that was made for one container, which is gone."""
        if attachment.own:
            await self._engine.remove_network(attachment.network)

    def forget(self, attachment: Attachment) -> None:
        """Take note that a shared network is gone: who made it has ended, and removed it."""
        self._shared.discard(attachment.network)

    async def close(self) -> None:
        """Remove what all shared, unless somebody else uses it, too."""
        for name in self._shared:
            try:
                await self._engine.remove_network(name)
            except LadingError as error:  # another executor on this host uses it
                log.debug("network %s stays: %s", name, error)
        self._shared.clear()

    async def _make_shared(self, spec: NetworkSpec) -> bool:
        try:
            await self._engine.create_network(spec)  # also an old one must be closed to the host
        except NameTaken:
            pass  # another executor's, or the operator's
        except NotSupported as error:
            log.info("each task gets a network of its own: %s", error)
            return False
        self._shared.add(spec.name)
        return True
