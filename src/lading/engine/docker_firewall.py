"""Keeps what is on an internal network away from the engine's own host.

Engines keep an internal network's packets from being forwarded, but its bridge has an address of
the host's: whoever is attached reaches through it every service of the host that listens on all
addresses, every port that other containers have published there, and with Podman a name server
that asks the world. So each such bridge gets one rule per IP version which drops what wants to
begin a connection to anything but a neighbour; replies to the host pass.

The rule stands where packets come in (table mangle, chain PREROUTING): before a published port is
turned into another container's address, and whatever else the host's firewall lets in. It carries
the network's name, by which it is found and removed with it.

Source: iptables(8), iptables-extensions(8) ("addrtype", "conntrack").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import shutil
import socket
from pathlib import Path

__all__ = ["Firewall"]

_log = logging.getLogger(__name__)

_SECONDS = 10
_WAIT = ("-w", "5", "-t", "mangle")
_CHAIN = "PREROUTING"
_SYSTEM_PATH = "/usr/sbin:/sbin"
"""Where it is, also for users whose PATH leaves out the administrator's programs."""


class _FailedError(Exception):
    """The rule can't be read or set; the message says why."""


class Firewall:
    """The rules of one engine's internal networks.

    Parameters
    ----------
    obstacle : str
        Why we have no say in the host's packet filter; empty if we may have.
    peer : int
        The engine's process, to see that its network namespace is ours; 0 if it is not known.
    """

    def __init__(self, obstacle: str, peer: int) -> None:
        self._obstacle = obstacle
        self._peer = peer
        self._told: set[str] = set()

    async def close_off(self, network: str, bridge: str) -> None:
        """Keep those on a bridge from the host; where that can't be done, a warning is logged.

        Parameters
        ----------
        network : str
            Its name.
        bridge : str
            Its interface on the engine's host.
        """
        failures: list[str] = []
        for program in await self._programs():
            try:
                if bridge not in await _bridges(program, network):
                    await _run(program, "-I", _CHAIN, *_rule(network, bridge))
            except _FailedError as error:  # one IP version is better than none
                failures.append(str(error))
        if self._obstacle:
            failures = [self._obstacle]
        if failures:
            self._warn(network, bridge, "; ".join(failures))

    async def forget(self, network: str) -> None:
        """Take away the rules of a network that is gone; nothing if there are none."""
        for program in await self._programs():
            with contextlib.suppress(_FailedError):  # which was told of when they could not be set
                for bridge in await _bridges(program, network):
                    if not _exists(bridge):  # else it is another engine's, of the same name
                        await _run(program, "-D", _CHAIN, *_rule(network, bridge))

    async def _programs(self) -> list[str]:
        """Find what sets rules, unless they would be set in vain."""
        if not self._obstacle and self._peer:
            self._obstacle = await asyncio.to_thread(_elsewhere, self._peer)
            self._peer = 0
        return [] if self._obstacle else await asyncio.to_thread(_find_programs)

    def _warn(self, network: str, bridge: str, reason: str) -> None:
        if reason in self._told:
            return
        self._told.add(reason)
        _log.warning(
            "what runs on network %s has no way out, but may reach the engine's own host: every "
            "service there that listens on all addresses (%s); to keep them apart, run as root on "
            "the engine's machine with iptables installed, or drop new connections that come in "
            "by %s",
            network, reason, bridge,
        )  # fmt: skip


def _elsewhere(peer: int) -> str:
    """Say whether a process has another network than we; empty if it has ours."""
    try:
        ours, theirs = (Path(f"/proc/{who}/ns/net").stat().st_ino for who in ("self", peer))
    except FileNotFoundError:
        return ""  # it was started anew since we connected
    except OSError as error:
        return f"the engine's process can't be looked into: {error}"
    return "" if ours == theirs else "the engine has a network namespace of its own"


def _find_programs() -> list[str]:
    names = ["iptables"]
    if Path("/proc/net/if_inet6").exists():  # also without IPv6 addresses of its own: fe80::
        names.append("ip6tables")
    return [shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH) or name for name in names]


def _rule(network: str, bridge: str) -> tuple[str, ...]:
    return (
        "-i", bridge,
        "-m", "addrtype", "!", "--dst-type", "UNICAST",  # the host's own, broadcast, multicast
        "-m", "conntrack", "--ctstate", "NEW",
        "-m", "comment", "--comment", _comment(network),
        "-j", "DROP",
    )  # fmt: skip


def _comment(network: str) -> str:
    return f"lading:{network}"


async def _bridges(program: str, network: str) -> list[str]:
    """Find the bridges for which a network of that name has a rule."""
    found = []
    for line in (await _run(program, "-S", _CHAIN)).splitlines():
        words = shlex.split(line)
        if _comment(network) in words and "-i" in words:
            found.append(words[words.index("-i") + 1])
    return found


def _exists(interface: str) -> bool:
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(interface) > 0
    return False


async def _run(program: str, *arguments: str) -> str:
    name = Path(program).name
    try:
        process = await asyncio.create_subprocess_exec(
            program, *_WAIT, *arguments, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise _FailedError(f"{name} is not installed") from error
    except OSError as error:
        raise _FailedError(f"{name}: {error.strerror}") from error
    try:
        async with asyncio.timeout(_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise _FailedError(f"{name} did not end within {_SECONDS} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = " ".join(err.decode(errors="replace").split())
        raise _FailedError(f"{name}: {words or f'exit code {process.returncode}'}")
    return out.decode(errors="replace")
