"""What a cluster does otherwise than an engine of one machine, and why: one list of all of it.

A test that asks :data:`Unlike` about one of these says what holds on a cluster instead; every one
of them stands in the documentation, too. Whatever isn't listed holds on every engine.
"""

from __future__ import annotations

from collections.abc import Callable

Unlike = Callable[[str], bool]
"""Whether the engine at hand is a cluster; the word must be one of these."""

OF_CLUSTERS = {
    "one stream": "a node keeps what a container writes to both streams as one: all is stdout",
    "text": "a node keeps it as text: what is no UTF-8 becomes U+FFFD",
    "started once": "a pod is started once: NotSupported, create another",
    "nothing before the start": "a container is on the cluster once it is started: until then "
    "nothing can be copied into it, and nobody knows its image's id",
    "files while it runs": "a cluster reaches into a container by programs of its image, while it "
    "runs: a mount is what files are for",
    "no process ids": "a container's processes are a node's, which isn't ours",
    "asked before it is killed": "a cluster always sends SIGTERM before SIGKILL",
    "told late": "a node looks at what its containers use every ten seconds or so",
    "nodes may come": "what no node has now, one that is added may have: it is waited for",
    "no limit of processes": "how many processes a pod may have is for its node to say",
    "no images": "a cluster keeps no images: it has them from registries, and tells only which",
    "networks are policies": "a cluster has one network; names on it are its DNS's, and who "
    "reaches whom is for its network plugin to enforce",
}
