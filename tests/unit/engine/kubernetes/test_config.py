"""Which cluster a kubeconfig means, and who we are to it."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lading.engine.kubernetes.config import Access, find_access
from lading.errors import ConfigError, CredentialsRefused, NotSupported

V1 = "client.authentication.k8s.io/v1"
CA = b"-----BEGIN CERTIFICATE-----\n"


def kubeconfig(path: Path, **parts: Any) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "home", "cluster": {"server": "https://home.test:6443"}},
        ],
        "users": [{"name": "me", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "home", "context": {"cluster": "home", "user": "me"}}],
        "current-context": "home",
        **parts,
    }
    path.write_text(json.dumps(content))
    return path


def of_user(path: Path, **user: Any) -> Path:
    return kubeconfig(path, users=[{"name": "me", "user": user}])


def find(address: str, *files: Path, **env: str) -> Access:
    return find_access(address, {"KUBECONFIG": ":".join(map(str, files)), **env})


async def seek(address: str, *files: Path, **env: str) -> Access:
    return await asyncio.to_thread(find, address, *files, **env)


async def authorization(access: Access) -> str:
    return (await access.credentials.current()).authorization


async def test_the_current_context(tmp_path: Path) -> None:
    found = await seek("kubernetes", kubeconfig(tmp_path / "c"))
    assert (found.server, found.context, found.namespace) == (
        "https://home.test:6443",
        "home",
        "default",
    )
    assert found.address == "kubernetes://home/default"
    assert await authorization(found) == "Bearer t0ken"
    assert "t0ken" not in repr(found)


@pytest.mark.parametrize(
    ("address", "context", "namespace"),
    [
        ("k8s", "home", "own"),
        ("kubernetes://", "home", "own"),
        ("kubernetes:///jobs", "home", "jobs"),
        ("kubernetes://home/jobs", "home", "jobs"),
        ("kubernetes://arn:aws:eks:x:1:cluster/c", "arn:aws:eks:x:1:cluster/c", "default"),
        ("kubernetes://arn:aws:eks:x:1:cluster/c/jobs", "arn:aws:eks:x:1:cluster/c", "jobs"),
    ],
)
def test_addresses(tmp_path: Path, address: str, context: str, namespace: str) -> None:
    own = {"cluster": "home", "user": "me", "namespace": "own"}
    contexts = [
        {"name": "home", "context": own},
        {"name": "arn:aws:eks:x:1:cluster/c", "context": {"cluster": "home", "user": "me"}},
    ]
    found = find(address, kubeconfig(tmp_path / "c", contexts=contexts))
    assert (found.context, found.namespace) == (context, namespace)
    assert find(found.address, tmp_path / "c").address == found.address


async def test_several_files_are_one(tmp_path: Path) -> None:
    """The first that names something counts, and paths start from where they are written."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ca.pem").write_bytes(CA)
    first = kubeconfig(tmp_path / "a", clusters=None, contexts=None)
    cluster = {"server": "https://b.test", "certificate-authority": "ca.pem"}
    second = kubeconfig(
        tmp_path / "b" / "c",
        clusters=[{"name": "home", "cluster": cluster}],
        users=[{"name": "me", "user": {"token": "other"}}],
    )
    found = await seek("k8s", first, tmp_path / "absent", second)
    assert found.server == "https://b.test"
    assert found.tls is not None
    assert found.tls.authorities == CA
    assert await authorization(found) == "Bearer t0ken"


def test_how_the_server_is_verified(tmp_path: Path) -> None:
    cluster = {
        "server": "https://home.test",
        "certificate-authority": "/nowhere",
        "certificate-authority-data": base64.b64encode(CA).decode(),
        "insecure-skip-tls-verify": True,
        "tls-server-name": "other.test",
    }
    found = find("k8s", kubeconfig(tmp_path / "c", clusters=[{"name": "home", "cluster": cluster}]))
    assert found.tls is not None
    assert (found.tls.authorities, found.tls.verify, found.tls.server_name) == (
        CA,
        False,
        "other.test",
    )


async def test_ways_of_saying_who_we_are(tmp_path: Path) -> None:
    found = await seek("k8s", of_user(tmp_path / "c", username="me", password="pass"))
    assert await authorization(found) == "Basic bWU6cGFzcw=="
    data = {f"client-{name}-data": base64.b64encode(name.encode()).decode()
            for name in ("certificate", "key")}  # fmt: skip
    found = await seek("k8s", of_user(tmp_path / "c", **data))
    credential = await found.credentials.current()
    assert (credential.certificate, credential.key) == (b"certificate", b"key")
    acting = {"as": "you", "as-groups": ["a", "b"], "as-user-extra": {"Reason/x": ["r"]}}
    assert (await seek("k8s", of_user(tmp_path / "c", **acting))).headers == (
        ("impersonate-user", "you"),
        ("impersonate-group", "a"),
        ("impersonate-group", "b"),
        ("impersonate-extra-Reason%2Fx", "r"),
    )


async def test_a_token_that_is_renewed_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread((tmp_path / "token").write_text, "first\n")
    found = await seek("k8s", of_user(tmp_path / "c", tokenFile="token"))
    assert await authorization(found) == "Bearer first"
    used = await found.credentials.current()
    await asyncio.to_thread((tmp_path / "token").write_text, "second\n")
    assert await authorization(found) == "Bearer first"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    assert found.credentials.refused(used)
    assert await authorization(found) == "Bearer second"


async def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    found = await seek("k8s", of_user(tmp_path / "c", tokenFile="token"))
    with pytest.raises(CredentialsRefused, match="can't be read from"):
        await found.credentials.current()


# Programs that hand out credentials.

PROGRAM = """
import json, os, sys, pathlib
runs = pathlib.Path(sys.argv[1])
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
status = {"token": f"{sys.argv[2]}-{len(runs.read_text())}-{os.environ['MORE']}"}
if len(sys.argv) > 3:
    status["expirationTimestamp"] = sys.argv[3]
assert asked["spec"] == {"interactive": False, "cluster": {"server": "https://home.test:6443"}}
print(json.dumps({"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def _exec(tmp_path: Path, *args: str, **more: Any) -> Path:
    (tmp_path / "program").write_text(f"#!{sys.executable}\n{PROGRAM}")
    (tmp_path / "program").chmod(0o755)
    entry = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./program",
        "args": [str(tmp_path / "runs"), *args],
        "env": [{"name": "MORE", "value": "m"}],
        "provideClusterInfo": True,
        **more,
    }
    return of_user(tmp_path / "c", exec=entry)


async def test_a_program_is_run_once_until_it_is_refused(tmp_path: Path) -> None:
    found = await seek("k8s", _exec(tmp_path, "t"))
    assert await authorization(found) == "Bearer t-1-m"
    used = await found.credentials.current()
    assert used.authorization == "Bearer t-1-m"
    assert found.credentials.refused(used)
    assert await authorization(found) == "Bearer t-2-m"
    assert found.credentials.refused(used)  # was renewed since
    assert await authorization(found) == "Bearer t-2-m"


async def test_a_program_is_run_again_when_its_credential_has_expired(tmp_path: Path) -> None:
    found = await seek("k8s", _exec(tmp_path, "t", "2020-01-01T00:00:00Z"))
    assert await authorization(found) == "Bearer t-1-m"
    assert await authorization(found) == "Bearer t-2-m"
    found = await seek("k8s", _exec(tmp_path, "t", "2999-01-01T00:00:00Z"))
    assert await authorization(found) == await authorization(found) == "Bearer t-3-m"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": "./absent"}, "can't be run: No such file"),
        ({"command": "false", "args": None}, "ended with 1: without a word"),
        ({"command": "echo", "args": ["{}"]}, "said what is no ExecCredential"),
        (
            {"command": "echo", "args": [json.dumps({"apiVersion": V1, "status": {}})]},
            "neither a token nor a certificate",
        ),
        (
            {"command": "echo", "args": [json.dumps({"apiVersion": f"{V1}beta1",
                                                     "status": {"token": "x"}})]},
            "speaks client.authentication.k8s.io/v1beta1, not",
        ),
    ],
)  # fmt: skip
async def test_a_program_that_fails(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    found = await seek("k8s", _exec(tmp_path, "t", installHint="install it", **entry),
                 PATH="/usr/bin:/bin")  # fmt: skip
    with pytest.raises(CredentialsRefused, match=words) as error:
        await found.credentials.current()
    assert error.value.fix == "install it"


# What can't be used.


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"current-context": ""}, "no current context, and contexts home"),
        ({"current-context": "away"}, "no context 'away' in .*; it has home"),
        ({"clusters": []}, "cluster 'home' is not there"),
        ({"users": []}, "user 'me' is not there"),
        ({"clusters": [{"name": "home", "cluster": {}}]}, "server '' is no address"),
        ({"clusters": [{"cluster": {}}]}, "one of its clusters has no name"),
        ({"contexts": {}}, "its contexts are no list"),
        (
            {"clusters": [{"name": "home", "cluster": {"server": "https://x",
                                                       "certificate-authority": "no.pem"}}]},
            "certificate-authority names .*/no.pem, which can't be read: No such file",
        ),
        (
            {"clusters": [{"name": "home", "cluster": {"server": "https://x",
                                                       "certificate-authority-data": "%"}}]},
            "certificate-authority-data is no base64",
        ),
        (
            {"users": [{"name": "me", "user": {"client-key-data": "eA=="}}]},
            "client-key comes without client-certificate",
        ),
        (
            {"users": [{"name": "me", "user": {"exec": {"command": "x", "apiVersion": "v9"}}}]},
            "'v9' is none that can be spoken with x",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_used(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        find("k8s", kubeconfig(tmp_path / "c", **parts))
    assert error.value.fix


def test_what_is_no_kubeconfig(tmp_path: Path) -> None:
    for text, words in (("a: [", "no YAML"), ("- 1", "no mapping")):
        (tmp_path / "c").write_text(text)
        with pytest.raises(ConfigError, match=words):
            find("k8s", tmp_path / "c")
    with pytest.raises(ConfigError, match=r"no cluster is configured: there is no .*/absent"):
        find("k8s", tmp_path / "absent")


def test_ways_to_a_cluster_that_we_do_not_have(tmp_path: Path) -> None:
    cluster = {"server": "https://x", "proxy-url": "socks5://p"}
    with pytest.raises(NotSupported, match=r"through a proxy .socks5://p."):
        find("k8s", kubeconfig(tmp_path / "c", clusters=[{"name": "home", "cluster": cluster}]))
    with pytest.raises(NotSupported, match="auth-provider 'gcp'"):
        find("k8s", of_user(tmp_path / "c", **{"auth-provider": {"name": "gcp"}}))


# In a pod.


def _account(folder: Path) -> dict[str, str]:
    for name, text in (("token", "ours"), ("namespace", "jobs"), ("ca.crt", CA.decode())):
        (folder / name).write_text(text)
    return {
        "KUBERNETES_SERVICE_HOST": "fd00::1",
        "KUBERNETES_SERVICE_PORT": "6443",
        "KUBECONFIG": str(folder / "absent"),
    }


@pytest.mark.parametrize(
    ("address", "namespace"),
    [("k8s", "jobs"), ("kubernetes:///other", "other"), ("kubernetes://in-cluster/x", "x")],
)
async def test_the_account_of_our_own_pod(tmp_path: Path, address: str, namespace: str) -> None:
    env = await asyncio.to_thread(_account, tmp_path)
    found = await asyncio.to_thread(find_access, address, env, account=tmp_path)
    assert (found.server, found.namespace, found.in_cluster) == (
        "https://[fd00::1]:6443",
        namespace,
        True,
    )
    assert await authorization(found) == "Bearer ours"


def test_a_kubeconfig_comes_before_the_account(tmp_path: Path) -> None:
    env = {**_account(tmp_path), "KUBECONFIG": str(kubeconfig(tmp_path / "c"))}
    assert find_access("k8s", env, account=tmp_path).context == "home"
    assert find_access("kubernetes://in-cluster", env, account=tmp_path).in_cluster


def test_a_pod_without_an_account(tmp_path: Path) -> None:
    env = _account(tmp_path)
    with pytest.raises(ConfigError, match="this pod has no account of the cluster"):
        find_access("k8s", env, account=tmp_path / "none")
