"""What is decided about a run before anything is made: channels, resources, container."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lading.contracts.processing.access import is_root
from lading.contracts.processing.channels import Channel, channels_of
from lading.contracts.processing.scaling import Needs, needs
from lading.engine import ContainerSpec, Gpu, Limits, Network
from lading.errors import NotSupported
from lading.run.records import new_id

if TYPE_CHECKING:
    from lading.contracts.processing.task import TaskInstance
    from lading.engine import Engine, EngineInfo, ImageInfo

__all__ = ["Circumstances", "Plan", "plan"]

_PIDS = 4096
"""Processes: enough for any task, too few for a fork bomb."""
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
"""What a root process needs to work with files of others, as those in its channels are; all else
that engines give is dropped."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How a task is run, beyond what it says itself.

    Parameters
    ----------
    network : bool
        Whether it has the engine's usual network; without it, it reaches nothing.
    capabilities : bool
        Whether it keeps all of the engine's usual capabilities.
    runtime : str or None
        OCI runtime by the name that the engine has it under.
    timeout : float or None
        Seconds that it may run; None: as long as it takes.
    grace : float
        Seconds between SIGTERM and SIGKILL when it has to end.
    """

    network: bool = True
    capabilities: bool = False
    runtime: str | None = None
    timeout: float | None = None
    grace: float = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A task instance, decided in everything.

    Parameters
    ----------
    instance : TaskInstance
    image : ImageInfo
        One that the engine has.
    channels : tuple of Channel
        Inputs first.
    needs : Needs
        Scale rules applied.
    spec : ContainerSpec
        Without names, labels of ours, and mounts.
    run_id : str
    fingerprint : str
        For :mod:`lading.contracts.processing.chains.resume`; may be empty.
    rootless : bool
        Whether users of its container are others on the host.
    """

    instance: TaskInstance
    image: ImageInfo
    channels: tuple[Channel, ...]
    needs: Needs
    spec: ContainerSpec
    circumstances: Circumstances
    run_id: str = field(default_factory=new_id)
    fingerprint: str = ""
    rootless: bool = False

    @property
    def digest(self) -> str:
        """What identifies the image: its digest at a registry, or its id where it has none."""
        return self.image.digests[0] if self.image.digests else self.image.id


async def plan(
    engine: Engine,
    instance: TaskInstance,
    image: ImageInfo,
    circumstances: Circumstances,
) -> Plan:
    """Decide everything about a run, and check what can be checked; nothing is made yet.

    Raises
    ------
    InputError
        A channel or an amount of resources can't be used; names it.
    NotSupported, GpuUnavailable
        The engine or the host can't give what it asks for.
    """
    info = await engine.info()
    _check_engine(info, circumstances)
    channels = await asyncio.to_thread(channels_of, instance)
    rules = [
        (channel, item.scale_rule)
        for channel, item in zip(channels, [*instance.inputs, *instance.outputs], strict=True)
        if item.scale_rule is not None and not channel.is_output
    ]
    needed = await asyncio.to_thread(needs, instance.resources, rules)
    gpus: tuple[str, ...] = ()
    if needed.gpus:
        from lading.host.gpus import lend  # noqa: PLC0415  # few tasks want one

        gpus = await lend(needed.gpus, info)
    config = instance.config
    spec = ContainerSpec(
        image=image.id,
        command=tuple(instance.command) if instance.command is not None else None,
        env={item.name: item.value for item in instance.env},
        labels=dict(config.labels or {}) if config is not None else {},
        gpus=Gpu(gpus) if gpus else None,
        limits=Limits(needed.cpus, needed.memory, _PIDS),
        requests=Limits(needed.cpu_request, needed.memory_request),
        network=Network.DEFAULT if circumstances.network else Network.NONE,
        runtime=circumstances.runtime,
        sealed=not circumstances.capabilities,
        # Some engines would hand them to whatever user the image names, where others don't.
        capabilities=_CAPABILITIES
        if is_root(image.user) and not circumstances.capabilities
        else (),
    )
    return Plan(instance, image, channels, needed, spec, circumstances, rootless=info.rootless)


def _check_engine(info: EngineInfo, circumstances: Circumstances) -> None:
    wanted = circumstances.runtime
    if wanted and wanted not in info.runtimes:
        known = ", ".join(info.runtimes) or "none"
        raise NotSupported(
            f"the container engine has no OCI runtime {wanted!r} (it has: {known})",
            fix=f"register {wanted!r} with the engine, or leave --runtime out",
        )
