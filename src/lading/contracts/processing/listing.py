"""What lies in a volume of a cluster: listed by a short-lived container that sees it read-only.

The scale rules of a channel are about its files, wherever they are. Where they can't be seen from
here, a container of the cluster's helper image walks over them as
:mod:`lading.contracts.processing.trees` does, and the same rules are applied to its list.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shlex
import stat
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lading.contracts.processing.scaling import Requirement, required, size_of
from lading.contracts.processing.template import ScaleRule, ScaleRuleMode
from lading.engine import ContainerSpec, Limits, Network, Placement
from lading.engine.shield import to_the_end
from lading.errors import EngineError, LadingError, NotSupported
from lading.run.creation import RUN_LABEL, create, remove
from lading.run.handover import HELPER_LABEL
from lading.run.records import new_id
from lading.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from lading.contracts.processing.volumes import VolumeChannel
    from lading.engine import Container, Engine

__all__ = ["measured_there", "parse", "script"]

_AT = "/lading-measured"
_END = "//end"
_LIMITS = Limits(memory=128 * MIB, pids=64)

# A path that `find .` writes has no two slashes in a row, and so `SIZE//MODE//PATH` can be told
# from whatever else a name may hold, line ends too. A link to a file counts as the file.
_LIST = r"""list() {
  cd "$1" 2>/dev/null || return 0
  busybox find . \( -type f -o -type l \) -exec busybox stat -L -c '%s//%f//%n' {} + 2>/dev/null
  return 0
}
"""
_ALL = """echo //root; (list {place})
"""
_ITEMS = """for item in {root}/* {root}/.[!.]* {root}/..?*; do
  if [ -d "$item" ]; then echo //root; (list "$item"/{below}); fi
done
"""


def script(rule: ScaleRule, root: str = _AT) -> str:
    """Write the shell script that lists what a rule looks at, for :func:`parse`."""
    below = shlex.quote(rule.target_dir)
    walk = (
        _ITEMS.format(root=shlex.quote(root), below=below)
        if rule.mode is ScaleRuleMode.max_item_sum
        else _ALL.format(place=f"{shlex.quote(root)}/{below}")
    )
    # Packed: an engine may keep only the end of a long log.
    return f"{_LIST}{{ {walk} echo {_END}; }} | busybox gzip -c | busybox base64\n"


def parse(text: bytes) -> list[list[tuple[str, int]]]:
    """Read what :func:`script` wrote.

    Returns
    -------
    list of list of (str, int)
        Of each directory that it walked over, the files below it: relative path, and bytes.

    Raises
    ------
    ValueError
        It is not whole.
    """
    try:
        content = zlib.decompress(base64.b64decode(text), zlib.MAX_WBITS | 16)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    roots: list[list[tuple[str, int]]] = []
    for line in _entries(content):
        if line == b"//root":
            roots.append([])
        elif line == _END.encode():
            return roots
        elif b"//" in line:
            size, mode, path = line.split(b"//", 2)
            if stat.S_ISREG(int(mode, 16)):
                name = path.removeprefix(b"./").decode("utf-8", "surrogateescape")
                roots[-1].append((name, int(size)))
    raise ValueError("its end is missing")


def _entries(content: bytes) -> Iterator[bytes]:
    """Cut it into entries; a name may hold line ends, which begin none."""
    entry: list[bytes] = []
    for line in content.split(b"\n"):
        if b"//" in line and entry:
            yield b"\n".join(entry)
            entry = []
        entry.append(line)
    yield b"\n".join(entry[:-1]) if entry[-1:] == [b""] else b"\n".join(entry)


async def measured_there(
    engine: Engine,
    channel: VolumeChannel,
    rule: ScaleRule,
    *,
    placement: Placement,
    labels: Mapping[str, str],
    on_wait: Callable[[str], None] | None = None,
) -> Requirement:
    """Say what a rule asks for, of a channel whose files are a cluster's.

    Parameters
    ----------
    engine : Engine
        A cluster.
    channel : VolumeChannel
    rule : ScaleRule
    placement : Placement
        Where the task runs: its volumes may be of some nodes, or of one namespace only.
    labels : mapping
        What the container carries, so that sweeping finds it.
    on_wait : callable or None
        Told why it does not run yet.

    Raises
    ------
    EngineError
        It could not be listed; names the channel.
    InputError
        The rule's complexity is no expression in n.
    """
    try:
        info = await engine.info()
        if not info.helper:
            raise NotSupported(f"{info.kind} has no image with which volumes can be looked into")
        spec = _spec(channel, rule, info.helper, placement, labels)
        roots = await _listed(engine, spec, on_wait)
    except EngineError as error:
        error.message = f"{channel} ({channel.place}) could not be measured: {error.message}"
        raise
    return required(channel.name, rule, size_of(rule, roots))


def _spec(
    channel: VolumeChannel,
    rule: ScaleRule,
    image: str,
    placement: Placement,
    labels: Mapping[str, str],
) -> ContainerSpec:
    run_id = new_id()
    return ContainerSpec(
        image=image,
        name=f"lading-{run_id}",
        command=("busybox", "sh", "-c", script(rule)),
        labels={**labels, RUN_LABEL: run_id, HELPER_LABEL: "listing"},
        limits=_LIMITS,
        network=Network.NONE,
        user="0:0",
        directory="/",
        sealed=True,
        capabilities=("DAC_OVERRIDE",),
        volumes=(channel.as_volume(target=_AT),),
        # Where the task runs, without what only the task itself needs.
        placement=Placement(
            namespace=placement.namespace,
            node_selector=placement.node_selector,
            tolerations=placement.tolerations,
            affinity=placement.affinity,
            priority_class=placement.priority_class,
            pull_secrets=placement.pull_secrets,
        ),
    )


async def _listed(
    engine: Engine, spec: ContainerSpec, on_wait: Callable[[str], None] | None
) -> list[list[tuple[str, int]]]:
    container = await create(engine, spec, spec.labels[RUN_LABEL])
    try:
        await container.start(on_wait)
        end = await container.wait()
        written = await _written(container)
    finally:
        # Labelled: what can't be removed now, the next sweep finds.
        with contextlib.suppress(LadingError):
            await to_the_end(remove(container))
    if end.code != 0:
        raise EngineError(f"the container that lists it ended with exit code {end.code}")
    try:
        return await asyncio.to_thread(parse, written)
    except ValueError as error:
        raise EngineError(f"what the container that lists it wrote is cut: {error}") from None


async def _written(container: Container) -> bytes:
    written = b""
    async for chunk in container.logs():
        written += chunk.data
    return written
