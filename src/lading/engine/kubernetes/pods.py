"""The pods of one client: made, followed by one watch, and deleted so that none is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from lading.engine.kubernetes.api import PODS, SECRETS, Api
from lading.engine.kubernetes.labels import CLIENT_LABEL, ID_LABEL
from lading.engine.kubernetes.life import Life
from lading.engine.kubernetes.pod import manifest, owned_by, pull_secret
from lading.engine.kubernetes.state import anything_runs
from lading.engine.kubernetes.watch import PodWatch, Sightings
from lading.engine.spec import Exit
from lading.errors import ContainerNotFound, EngineUnreachable, NameTaken
from lading.settings import EngineOptions

__all__ = ["Pods"]

_AT_ONCE = 1
"""Seconds of grace where nobody asked for any: with 0 a cluster forgets a pod whose program still
runs on its node."""
_CONFIRM = 30.0
"""Seconds that a node may take beyond the grace to say that a pod's programs have ended."""

Pod = dict[str, Any]


class Pods:
    """What one client does with pods.

    Parameters
    ----------
    api : Api
    options : EngineOptions

    Attributes
    ----------
    client : str
        What all pods that it makes carry.
    lives : dict
        Those that it made and has not removed, by namespace and name.
    """

    def __init__(self, api: Api, options: EngineOptions) -> None:
        self.api = api
        self.options = options
        self.client = secrets.token_hex(6)
        self.lives: dict[tuple[str, str], Life] = {}
        self._watches: dict[str, PodWatch] = {}

    async def watch(self, namespace: str) -> PodWatch:
        """Have the watch of all pods of this client in a namespace.

        Raises
        ------
        EngineError
            We may not list or watch pods there, or nobody answers.
        """
        watch = self._watches.get(namespace)
        if watch is None:
            watch = PodWatch(self.api, namespace, f"{CLIENT_LABEL}={self.client}")
            self._watches[namespace] = watch
        await watch.start()
        return watch

    @contextlib.asynccontextmanager
    async def follow(self, life: Life) -> AsyncIterator[Sightings]:
        """Follow what becomes of one; others' pods by a watch of their own.

        Raises
        ------
        ContainerNotFound
            It is gone by now.
        """
        if life.spec is not None:
            watch = await self.watch(life.namespace)
            with watch.follow(life.name, life.uid) as sightings:
                if life.pod is not None and watch.look(life.name) is None:
                    await self.look(life)  # gone, or the watch is not that far yet
                yield sightings
            return
        watch = PodWatch(self.api, life.namespace, fields=f"metadata.name={life.name}")
        try:
            await watch.start()
            with watch.follow(life.name, life.uid) as sightings:
                found = watch.look(life.name)
                if found is None or found["metadata"]["uid"] != life.uid:
                    raise life.gone()
                yield sightings
        finally:
            await watch.close()

    def known(self, life: Life) -> Pod | None:
        """Give what the watch has of a pod of ours; no call."""
        watch = self._watches.get(life.namespace)
        found = watch.look(life.name) if watch is not None else None
        return found if found is not None and found["metadata"]["uid"] == life.uid else None

    async def look(self, life: Life) -> Pod:
        """Ask for a pod as it is now.

        Raises
        ------
        ContainerNotFound
            It is gone, or another one has its name.
        """
        pod = await self.api.call(
            "get", PODS, life.call("inspecting"), name=life.name, namespace=life.namespace
        )
        if life.pod is not None and pod["metadata"]["uid"] != life.uid:
            raise life.gone()
        life.learn(pod)
        return pod

    # Making.

    async def check(self, life: Life) -> None:
        """Have the cluster say whether it would take a pod: its name, its quota, our permission.

        Raises
        ------
        EngineError
            Or what its refusal means.
        """
        await self.api.call(
            "create",
            PODS,
            life.call("creating"),
            namespace=life.namespace,
            query={"dryRun": "All"},
            body=self._manifest(life),
        )

    async def make(self, life: Life) -> None:
        """Make a pod, with the secret that its image needs.

        Raises
        ------
        NameTaken, EngineError
            Or what the cluster's refusal means.
        """
        assert life.spec is not None
        life.begun.set()  # whatever becomes of the call, it may be there from now on
        secret = pull_secret(life.spec, name=life.name, nonce=life.nonce, client=self.client)
        if secret is not None:
            await self.api.call(
                "create",
                SECRETS,
                life.call("creating the registry's secret of"),
                namespace=life.namespace,
                body=secret,
            )
        pod = await self._post(life)
        life.learn(pod)
        self._watches[life.namespace].learn(pod)
        if secret is not None:  # the cluster removes it with the pod then, whatever becomes of us
            await self.api.call(
                "patch",
                SECRETS,
                life.call("handing over the registry's secret of"),
                name=secret["metadata"]["name"],
                namespace=life.namespace,
                body=owned_by(pod),
            )

    async def _post(self, life: Life) -> Pod:
        try:
            return await self.api.call(
                "create",
                PODS,
                life.call("starting"),
                namespace=life.namespace,
                body=self._manifest(life),
            )
        except (EngineUnreachable, NameTaken):
            # A call that broke off, or was sent again, may have made it.
            found = await self._find(life)
            if found is None:
                raise
            return found

    async def _find(self, life: Life) -> Pod | None:
        found = await self.api.call(
            "get",
            PODS,
            life.call("looking for"),
            name=life.name,
            namespace=life.namespace,
            accept=frozenset({404}),
        )
        if found.get("kind") == "Status":
            return None
        nonce = (found["metadata"].get("labels") or {}).get(ID_LABEL)
        return found if nonce == life.nonce else None

    def _manifest(self, life: Life) -> dict[str, Any]:
        assert life.spec is not None
        return manifest(
            life.spec, name=life.name, nonce=life.nonce, client=self.client, placed=life.placed
        )

    # Ending.

    async def until_ended(self, life: Life, sightings: Sightings) -> Exit | None:
        """Wait until its program has ended, or it is gone: None where nobody says how."""
        while life.end is None:
            sight = await sightings.next()
            life.learn(sight.pod)
            if sight.gone:
                break
        return life.end

    async def delete(self, life: Life, grace: int) -> bool:
        """Ask the cluster to end and forget a pod; False if it has none.

        Raises
        ------
        EngineError
            It does not let us.
        """
        options: dict[str, Any] = {"gracePeriodSeconds": grace}
        if life.uid:
            options["preconditions"] = {"uid": life.uid}
        try:
            found = await self.api.call(
                "delete",
                PODS,
                life.call("removing"),
                name=life.name,
                namespace=life.namespace,
                body=options,
                accept=frozenset({404}),
            )
        except ContainerNotFound:  # another one has its name
            return False
        return bool(found.get("code") != 404)

    async def remove(self, life: Life) -> None:
        """End a pod if it runs, and delete it; returns when the cluster has forgotten it.

        Raises
        ------
        EngineError
            It does not let us, or does not answer.
        """
        try:
            await self._remove(life)
        finally:
            await self._remove_secret(life)

    async def _remove(self, life: Life) -> None:
        if life.pod is None:
            found = await self._find(life)
            if found is None:
                return
            life.learn(found)
        try:
            async with self.follow(life) as sightings:
                if life.end is None and not await self._ended_on_its_node(life, sightings):
                    return
                if await self.delete(life, 0):
                    await self._until_gone(sightings)
        except ContainerNotFound:
            return

    async def _remove_secret(self, life: Life) -> None:
        # With its pod it goes by itself, but when is the cluster's to say.
        spec = life.spec
        secret = None
        if spec is not None:
            secret = pull_secret(spec, name=life.name, nonce=life.nonce, client=self.client)
        if secret is not None:
            await self.api.call(
                "delete",
                SECRETS,
                life.call("removing the registry's secret of"),
                name=secret["metadata"]["name"],
                namespace=life.namespace,
                accept=frozenset({404}),
            )

    async def _ended_on_its_node(self, life: Life, sightings: Sightings) -> bool:
        """End one that runs, and wait for its node to say so; False if it is gone by then."""
        if life.pod is not None and not anything_runs(life.pod):
            return True  # nor will: its image can't be had, or no node takes it
        if not await self.delete(life, _AT_ONCE):
            return False
        with contextlib.suppress(TimeoutError):  # its node is away: it is forgotten all the same
            async with asyncio.timeout(_AT_ONCE + _CONFIRM):
                while life.end is None:
                    sight = await sightings.next()
                    life.learn(sight.pod)
                    if sight.gone:
                        return False
        return True

    async def _until_gone(self, sightings: Sightings) -> None:
        with contextlib.suppress(TimeoutError):  # something else holds it: a finalizer
            async with asyncio.timeout(_CONFIRM):
                while not (await sightings.next()).gone:
                    pass

    async def close(self) -> None:
        """Watch no more; pods are not touched."""
        for watch in self._watches.values():
            await watch.close()
