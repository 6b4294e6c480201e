"""A real cluster for tests, asked with nothing of ours in between: `http.client` and a token.

Which one `LADING_TEST_KUBECONFIG` says. Where its nodes run on this machine's Docker, what is made
there is what they have; for another cluster, load the images of :func:`prepare` and
:func:`ensure_tools` onto its nodes first.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import http.client
import io
import json
import os
import ssl
import subprocess
import tarfile
import tempfile
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.images import build
from tests.support import engines

VARIABLE = "LADING_TEST_KUBECONFIG"
INSTALL = f"start one, and name its kubeconfig in {VARIABLE}"
TOOLS = "lading-test/probe-tools:1"
"""The probe with a shell, tar and kill beside it: on a cluster, these are the image's to have."""
HELPER = "busybox:1.37"
PAUSE = "lading/pause:1"
"""What holds the namespaces of a pod on the cluster that `cluster up` starts."""

_TIMEOUT_S = 60.0
_PAUSE_SOURCE = Path(__file__).parents[1] / "images" / "pause.c"
_PROGRAMS = ("sh", "tar", "head", "cat", "kill", "base64", "sleep", "busybox")
_KINDS = {
    "pods": "/api/v1/namespaces/{}/pods",
    "secrets": "/api/v1/namespaces/{}/secrets",
    "configmaps": "/api/v1/namespaces/{}/configmaps",
    "networkpolicies": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}

Json = dict[str, Any]


@dataclass(frozen=True)
class _Access:
    address: str
    context: ssl.SSLContext | None
    headers: Mapping[str, str]


def find() -> Path | None:
    """The kubeconfig of a cluster that answers, or None."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    with contextlib.suppress(OSError):
        if call("GET", "/version")[0] == 200:
            return Path(named)
    return None


@functools.cache
def _access(named: str) -> _Access:
    path = Path(named)
    content = yaml.safe_load(path.read_text())
    chosen = _named(content, "contexts", content["current-context"])["context"]
    cluster = _named(content, "clusters", chosen["cluster"])["cluster"]
    user = _named(content, "users", chosen["user"])["user"]
    headers = {"Content-Type": "application/json"}
    if token := user.get("token"):
        headers["Authorization"] = f"Bearer {token}"
    parts = urllib.parse.urlsplit(cluster["server"])
    if parts.scheme == "http":
        return _Access(parts.netloc, None, headers)
    context = ssl.create_default_context()
    with tempfile.TemporaryDirectory() as folder:

        def file_of(owner: Json, key: str) -> str:
            if name := owner.get(key):
                return str(path.parent / name)
            at = Path(folder, key)
            at.write_bytes(base64.b64decode(owner.get(f"{key}-data", "")))
            return str(at)

        context.load_verify_locations(file_of(cluster, "certificate-authority"))
        if user.get("client-certificate") or user.get("client-certificate-data"):
            context.load_cert_chain(
                file_of(user, "client-certificate"), file_of(user, "client-key")
            )
    return _Access(parts.netloc, context, headers)


def _named(content: Json, key: str, name: str) -> Json:
    found: Json = next(item for item in content[key] if item["name"] == name)
    return found


def call(
    method: str, path: str, content: object = None, *, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """One call of the API: status, and the JSON of its body (None if that is none)."""
    access = _access(os.environ[VARIABLE])
    connection = (
        http.client.HTTPSConnection(access.address, timeout=_TIMEOUT_S, context=access.context)
        if access.context
        else http.client.HTTPConnection(access.address, timeout=_TIMEOUT_S)
    )
    with contextlib.closing(connection):
        sent = None if content is None else json.dumps(content)
        connection.request(method, path, sent, {**access.headers, **(headers or {})})
        response = connection.getresponse()
        body = response.read()
    try:
        return response.status, json.loads(body)
    except ValueError:
        return response.status, None


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    """Make a namespace that is removed, with all that is in it, after the block."""
    name = f"lading-test-{uuid.uuid4().hex[:8]}"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    status, body = call("POST", "/api/v1/namespaces", made)
    assert status == 201, body
    try:
        yield name
    finally:
        call("DELETE", f"/api/v1/namespaces/{name}")


def namespace_of(host: str) -> str:
    """The namespace of an engine's address."""
    return host.rpartition("/")[2]


def pods(namespace: str, selector: str = "") -> list[Json]:
    """All pods of a namespace that a selector chooses."""
    query = urllib.parse.urlencode({"labelSelector": selector})
    _, found = call("GET", f"{_KINDS['pods'].format(namespace)}?{query}")
    items: list[Json] = found["items"]
    return items


def pod(host: str, name: str) -> Json:
    """One pod of an engine's namespace."""
    status, found = call("GET", f"{_KINDS['pods'].format(namespace_of(host))}/{name}")
    assert status == 200, found
    assert isinstance(found, dict)
    return found


def leftovers(host: str, labels: Mapping[str, set[str]], names: set[str]) -> list[tuple[str, str]]:
    """What a namespace holds that carries one of these labels, or a name that begins so.

    Returns
    -------
    list of (str, str)
        A line for a person, and the path that deletes it.
    """
    where = namespace_of(host)
    found = []
    for kind, path in _KINDS.items():
        _, listed = call("GET", path.format(where))
        for item in (listed or {}).get("items") or ():
            meta = item["metadata"]
            carried, name = meta.get("labels") or {}, meta["name"]
            if any(carried.get(key) in values for key, values in labels.items()) or any(
                name.startswith(prefix) for prefix in names
            ):
                target = f"{path.format(where)}/{name}?gracePeriodSeconds=0"
                found.append((f"one of the {kind}, {name}, in namespace {where}", target))
    return found


async def ask(method: str, path: str, content: object = None, **headers: str) -> Any:
    """Call the API with nothing of ours in between; what it refuses is no test's fault."""
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    status, body = await asyncio.to_thread(call, method, path, content, headers=sent)
    assert status < 300, body
    return body


def pods_of(host: str, name: str = "") -> str:
    path = f"/api/v1/namespaces/{namespace_of(host)}/pods"
    return f"{path}/{name}" if name else path


async def until_seen(host: str, name: str, seen: Callable[[Json], bool]) -> None:
    """Wait until the cluster itself says something of a pod, while the engine can't hear it."""
    while not seen(await asyncio.to_thread(pod, host, name)):
        await asyncio.sleep(0.05)


def has_ended(found: Json) -> bool:
    return found["status"]["phase"] in ("Succeeded", "Failed")


def status_of(path: str) -> int:
    return call("GET", path)[0]


def under_the_hood(engine: Any) -> Any:
    """What an engine calls the API by: it counts."""
    return engine._api


# Images.


def prepare(docker_host: str) -> None:
    """Make the images that every pod of the cluster at hand needs, before it is started."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "pause")
        command = ["gcc", "-static", "-O2", "-s", "-o", str(program), str(_PAUSE_SOURCE)]
        subprocess.run(command, check=True, capture_output=True)
        made = _archive({"pause": program.read_bytes()})
    build.import_image(docker_host, PAUSE, made, ['ENTRYPOINT ["/pause"]'])
    if engines.call(docker_host, "GET", f"/images/{HELPER}/json")[0] != 200:
        # As the one of Docker Hub: its programs are links to it.
        busybox = "/bin/busybox"
        listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
        links = {f"bin/{name}": "busybox" for name in listed.stdout.split() if name != "busybox"}
        archive = _archive({"bin/busybox": Path(busybox).read_bytes()}, links)
        build.import_image(docker_host, HELPER, archive, ['CMD ["sh"]'])


def ensure_tools(docker_host: str) -> str:
    """Make sure that the cluster's nodes have the probe with tools; returns its name."""
    build.ensure_probe(docker_host)
    probe = build.compile_probe()
    status, there = engines.call(docker_host, "GET", f"/images/{TOOLS}/json")
    source = f"lading.test.source={probe.name}"
    if status == 200 and source.endswith(
        str((there["Config"].get("Labels") or {}).get("lading.test.source"))
    ):
        return TOOLS
    busybox = _busybox(docker_host)
    changes = ['CMD ["serve"]', "EXPOSE 8080", "LABEL lading.test=probe", f"LABEL {source}"]
    programs = {f"bin/{name}": busybox for name in _PROGRAMS}
    build.make_image(docker_host, TOOLS, programs, changes)
    return TOOLS


def _busybox(docker_host: str) -> bytes:
    """The static one of the helper's image."""
    wanted = {"Image": HELPER, "Cmd": ["true"]}
    status, made = engines.call(docker_host, "POST", "/containers/create", wanted)
    assert status == 201, made
    try:
        for path in ("/bin/busybox", "/busybox"):
            status, archive = build.call(
                docker_host, "GET", f"/containers/{made['Id']}/archive?path={path}"
            )
            if status == 200:
                with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                    file = tar.extractfile("busybox")
                    assert file is not None
                    return file.read()
    finally:
        engines.call(docker_host, "DELETE", f"/containers/{made['Id']}?force=1")
    raise AssertionError(f"{HELPER} has no busybox")


def _archive(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
    return buffer.getvalue()
