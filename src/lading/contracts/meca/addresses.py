"""Ids of tasks that are addresses: a CID says what a task is, byte for byte.

Contract 1: a task folder is added to IPFS, and the host that builds it tags the image with the last
10 characters of the CID. Those 10 are 50 bits, for which a second folder can be computed, so ours
are known by the whole CID; the short tag is set as well, for those who ask for it.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from lading.errors import InputError

if TYPE_CHECKING:
    from lading.content.cid import Cid

__all__ = ["canonical", "cid_of", "image_name", "is_address", "short_name"]

_SCHEMES = ("ipfs://", "/ipfs/")
_SHORTEST = 46
"""Characters of a CID of version 0; of version 1 there are more, and image names have less."""
_BARE = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{50,}")
_HOST = "lading.invalid"
"""The registry in the names of images made from CIDs. Names below ``.invalid`` never resolve
(RFC 6761, 6.4), so that nobody can have such an image pulled, only made here from its content."""


def is_address(task: str) -> bool:
    """Whether a task's id is an address of content: a CID, or what begins as the address of one."""
    if task.startswith(_SCHEMES):
        return True
    return len(task) >= _SHORTEST and _BARE.fullmatch(task) is not None and _is_cid(task)


@functools.lru_cache(maxsize=1024)
def _is_cid(text: str) -> bool:
    try:
        cid_of(text)
    except InputError:
        return False
    return True


def canonical(task: str) -> str:
    """Write an id in its one form: a CID as version 1 in base 32, an image's name as it is.

    Raises
    ------
    InputError
        It begins as an address does, and is none.
    """
    return str(cid_of(task)) if is_address(task) else task


def cid_of(task: str) -> Cid:
    """Read the CID of an id that is an address.

    Raises
    ------
    InputError
        It is no CID.
    """
    from lading.content.cid import Cid  # noqa: PLC0415  # most ids are images'

    try:
        cid = Cid.parse(task)
    except InputError as error:
        raise InputError("id", error.reason, fix=error.fix) from None
    return Cid(1, cid.codec, cid.digest)


def image_name(cid: Cid) -> str:
    """Name the image that is made from what a CID stands for."""
    return f"{_HOST}/{cid}:latest"


def short_name(cid: Cid) -> str:
    """Name it as the contract does."""
    return f"{cid.short}:latest"
