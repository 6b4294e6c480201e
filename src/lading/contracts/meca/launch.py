"""How a stranger's task is put into a container: sealed, limited, named as the contract says."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lading.contracts.meca import PORT
from lading.engine import ContainerSpec, Device, Gpu, Limits, Mount, NetworkSpec
from lading.errors import NotSupported
from lading.run.creation import CONTRACT_LABEL
from lading.units import format_bytes, format_cores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lading.contracts.meca.options import ExecutorOptions
    from lading.contracts.meca.request import Request, TaskLimits
    from lading.engine import EngineInfo, ImageInfo

__all__ = ["CONTRACT", "ENCLAVE_DEVICE", "Launcher", "TaskKey", "container_name"]

CONTRACT = "meca"
"""The value of the label ``lading.contract``."""

CLOSED_NETWORK = "mecanywhere_closed"
OPEN_NETWORK = "mecanywhere_open"
ENCLAVE_DEVICE = "/dev/sgx/enclave"
AESM_DIRECTORY = "/var/run/aesmd"

_UNNAMEABLE = re.compile(r"[^a-zA-Z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class TaskKey:
    """What two requests must have in common to be served by one container."""

    image: str
    image_id: str
    micro_vm: bool
    limits: TaskLimits

    def __str__(self) -> str:
        asks = f"{format_cores(self.limits.cpus)} cores, {format_bytes(self.limits.memory)}"
        return f"{self.image} ({asks})"


def container_name(image: str) -> str:
    """Name a container ``mecanywhere_<name>_<tag>_<something unique>``."""
    name, _, digest = image.partition("@")
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, digest.rpartition(":")[2][:12] or "latest"
    stem = _UNNAMEABLE.sub("-", f"{path.replace('/', '-')}_{tag}").strip("-")
    return f"mecanywhere_{stem[:80]}_{secrets.token_hex(4)}"


class Launcher:
    """Turns a request into the spec of its container.

    Parameters
    ----------
    options : ExecutorOptions
    info : EngineInfo
    labels : mapping
        The owner's.
    sealed : bool
        Whether tasks get no network at all, unless the operator lets them out.
    """

    def __init__(
        self,
        options: ExecutorOptions,
        info: EngineInfo,
        labels: Mapping[str, str],
        *,
        sealed: bool,
    ) -> None:
        self._options = options
        self._info = info
        self._labels = {**labels, CONTRACT_LABEL: CONTRACT}
        self._sealed = sealed

    def check(self, request: Request) -> None:
        """Refuse what this host can't run as asked.

        Raises
        ------
        NotSupported
            The stronger runtime, or the enclave, isn't there.
        """
        if request.micro_vm:
            self._check_runtime()
        if request.limits.sgx and not self._options.sgx:
            raise NotSupported(
                f"task {request.image} asks for SGX, which this host does not lend",
                fix="the operator sets sgx.enable where the machine has it",
            )

    def _check_runtime(self) -> None:
        runtime = self._options.microvm_runtime
        if not runtime:
            raise NotSupported(
                'runtime "microVM" is not configured on this host',
                fix="the operator sets microVM_runtime to an OCI runtime such as kata or runsc",
            )
        if runtime not in self._info.runtimes and not self._info.cluster:
            known = ", ".join(self._info.runtimes) or "none"
            raise NotSupported(
                f'runtime "microVM" means the OCI runtime {runtime!r} here, '
                f"which the container engine does not have (it has: {known})",
                fix=f"the operator registers {runtime!r} with the engine",
            )

    def spec(
        self, key: TaskKey, image: ImageInfo, network: str, devices: tuple[str, ...]
    ) -> ContainerSpec:
        """Decide everything about one container.

        Parameters
        ----------
        key : TaskKey
        image : ImageInfo
            By its id, so that a tag moved meanwhile changes nothing.
        network : str
            Where it is attached.
        devices : tuple of str
            UUIDs of the GPUs that were reserved for it.
        """
        sgx = key.limits.sgx
        options = self._options
        return ContainerSpec(
            image=image.runs_as,
            name=container_name(key.image),
            labels={**self._labels, "lading.image": key.image},
            mounts=(Mount(options.aesmd_path, AESM_DIRECTORY),) if sgx else (),
            devices=(Device(options.sgx_device, ENCLAVE_DEVICE),) if sgx else (),
            gpus=Gpu(devices) if devices else None,
            limits=Limits(key.limits.cpus, key.limits.memory, options.pids),
            network=network,
            ports=(PORT,),
            runtime=options.microvm_runtime if key.micro_vm else None,
            sealed=True,
        )

    def network(self, *, micro_vm: bool) -> NetworkSpec | None:
        """Which network a task is attached to; None is no network at all.

        A task with a kernel of its own can't be reached through its host's view of its loopback
        interface, so it gets a network even where the others have none.
        """
        if self._options.egress:
            return NetworkSpec(OPEN_NETWORK, labels=self._labels, isolated=True)
        if self._sealed and not micro_vm:
            return None
        return NetworkSpec(CLOSED_NETWORK, labels=self._labels, internal=True, isolated=True)
