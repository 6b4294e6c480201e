"""Which cluster is meant: kubeconfig files as kubectl reads them, or the account of our own pod.

Sources: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/,
https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ and
https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lading.engine.kubernetes.auth import (
    Credential,
    Credentials,
    Fixed,
    TokenFile,
    basic,
    program,
)
from lading.errors import ConfigError, NotSupported

__all__ = ["SCHEME", "Access", "Tls", "find_access"]

SCHEME = "kubernetes://"
IN_CLUSTER = "in-cluster"
"""The name of the context that our own pod's account makes."""

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SHORT = ("kubernetes", "k8s")


@dataclass(frozen=True, slots=True)
class Tls:
    """How the API server's certificate is verified.

    Parameters
    ----------
    authorities : bytes
        Those who may have signed it, in PEM; empty for those that the system trusts.
    verify : bool
    server_name : str
        Whose certificate it should be; empty for the host's of the address.
    """

    authorities: bytes = b""
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster, and who we are to it.

    Parameters
    ----------
    server : str
        ``https://host:port``, with a path where it is behind something.
    context, namespace : str
    credentials : Credentials
    tls : Tls or None
        None where the server speaks plain HTTP.
    headers : tuple of (str, str)
        What goes with every request: whom we act for.
    in_cluster : bool
        Whether we run in a pod of it, by its account.
    source : str
        Where all this was found, for messages.
    """

    server: str
    context: str
    namespace: str
    credentials: Credentials
    tls: Tls | None = field(default_factory=Tls)
    headers: tuple[tuple[str, str], ...] = ()
    in_cluster: bool = False
    source: str = ""

    @property
    def address(self) -> str:
        """What names this cluster and namespace as an engine."""
        return f"{SCHEME}{self.context}/{self.namespace}"


def find_access(address: str, env: Mapping[str, str], *, account: Path = _ACCOUNT) -> Access:
    """Find the cluster that is meant by `address`; reads files, so not on the event loop.

    Parameters
    ----------
    address : str
        ``kubernetes`` or ``k8s`` for the current context, ``kubernetes://CONTEXT[/NAMESPACE]``;
        an empty context is the current one.
    env : mapping
        ``KUBECONFIG``, ``HOME``, and in a pod ``KUBERNETES_SERVICE_HOST`` and ``..._PORT``.
    account : Path
        Where the cluster puts the account of a pod.

    Raises
    ------
    ConfigError
        There is no such context, or what a kubeconfig says of it can't be used.
    NotSupported
        It names a way to the cluster that we don't have.
    """
    wanted = "" if address in _SHORT else address.removeprefix(SCHEME)
    merged = _Merged(_files(env))
    context, _, namespace = wanted.partition("/")
    ours = context == IN_CLUSTER or (not context and not merged.contexts)
    if ours and context not in merged.contexts and env.get("KUBERNETES_SERVICE_HOST"):
        return _own_account(env, account, namespace)
    if not merged.found:
        raise ConfigError(
            "engine",
            f"no cluster is configured: there is no {merged.source}",
            fix="name a kubeconfig in KUBECONFIG",
        )
    context, namespace = merged.choose(wanted)
    return _access(merged, context, namespace, env)


def _files(env: Mapping[str, str]) -> list[Path]:
    named = [Path(part) for part in env.get("KUBECONFIG", "").split(":") if part]
    return named or [Path(env.get("HOME") or "/root") / ".kube" / "config"]


class _Merged:
    """Several kubeconfig files as one: of what has the same name, the first file's counts."""

    def __init__(self, files: list[Path]) -> None:
        self.source = ", ".join(map(str, files))
        self.found = False
        self.current = ""
        self.clusters: dict[str, _Entry] = {}
        self.users: dict[str, _Entry] = {}
        self.contexts: dict[str, _Entry] = {}
        for path in files:
            content = _read(path)
            if content is None:
                continue
            self.found = True
            self.current = self.current or str(content.get("current-context") or "")
            for key, kind in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
                into: dict[str, _Entry] = getattr(self, key)
                for name, value in _entries(content.get(key), kind, path):
                    into.setdefault(name, _Entry(value, path, f"{kind} {name!r} in {path}"))

    def choose(self, wanted: str) -> tuple[str, str]:
        """Tell the context and the namespace apart; names of contexts may have slashes in them."""
        wanted = wanted.rstrip("/")
        if not wanted or wanted.startswith("/"):
            if not self.current:
                raise ConfigError(
                    self.source,
                    f"it has no current context, and contexts {self._names()}",
                    fix=f"name one: {SCHEME}CONTEXT, or kubectl config use-context",
                )
            namespace, wanted = wanted.strip("/"), self.current
            if wanted in self.contexts:
                return wanted, namespace
        elif wanted in self.contexts:
            return wanted, ""
        elif (parts := wanted.rpartition("/"))[0] in self.contexts:
            return parts[0], parts[2]
        raise ConfigError(
            "engine",
            f"there is no context {wanted!r} in {self.source}; it has {self._names()}",
            fix=f"name one of them: {SCHEME}CONTEXT[/NAMESPACE]",
        )

    def _names(self) -> str:
        return ", ".join(sorted(self.contexts)) or "none"


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something with a name in a kubeconfig, and the file whose folder its paths start from."""

    value: Mapping[str, Any]
    path: Path
    where: str

    def text(self, key: str) -> str:
        """Read a field that is a string; empty where there is none."""
        return str(self.value.get(key) or "")

    def bytes_of(self, key: str) -> bytes:
        """Read what ``key-data`` holds, or else the file that ``key`` names."""
        if data := self.text(f"{key}-data"):
            try:
                return base64.b64decode(data, validate=True)
            except binascii.Error as error:
                raise self.wrong(f"{key}-data", "is no base64", "copy it whole") from error
        if not (name := self.text(key)):
            return b""
        path = self.path.parent / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise self.wrong(
                key, f"names {path}, which can't be read: {error.strerror}", "name another file"
            ) from error

    def wrong(self, key: str, reason: str, fix: str) -> ConfigError:
        """Say what can't be used."""
        return ConfigError(self.where, f"{key} {reason}", fix=fix)


def _read(path: Path) -> Mapping[str, Any] | None:
    import yaml  # noqa: PLC0415 - 15 ms that other engines don't need

    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            str(path),
            f"it can't be read: {error.strerror}",
            fix="make it readable, or name another",
        ) from error
    try:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise ConfigError(str(path), f"it is no YAML: {words}", fix="repair it") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(str(path), "it is no kubeconfig: no mapping", fix="name another file")
    return found


def _entries(listed: object, kind: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if listed is None:
        return
    if not isinstance(listed, list):
        raise ConfigError(str(path), f"its {kind}s are no list", fix="repair it")
    for item in listed:
        if not isinstance(item, dict) or "name" not in item:
            raise ConfigError(str(path), f"one of its {kind}s has no name", fix="repair it")
        value = item.get(kind) or {}
        if not isinstance(value, dict):
            raise ConfigError(
                str(path), f"its {kind} {item['name']!r} is no mapping", fix="repair it"
            )
        yield str(item["name"]), value


def _access(merged: _Merged, context: str, namespace: str, env: Mapping[str, str]) -> Access:
    chosen = merged.contexts[context]
    cluster = merged.clusters.get(chosen.text("cluster"))
    if cluster is None:
        raise chosen.wrong("cluster", f"{chosen.text('cluster')!r} is not there", "add it")
    user = merged.users.get(chosen.text("user")) if chosen.text("user") else None
    if user is None and chosen.text("user"):
        raise chosen.wrong("user", f"{chosen.text('user')!r} is not there", "add it")
    server = cluster.text("server").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise cluster.wrong("server", f"{server!r} is no address", "write https://host:port")
    if cluster.text("proxy-url"):
        raise NotSupported(
            f"{cluster.where}: it is reached through a proxy ({cluster.text('proxy-url')}), which "
            "we can't use",
            fix="forward a port to it (ssh -L, or kubectl proxy through that proxy), and name "
            "that as its server",
        )
    tls = None
    if server.startswith("https://"):
        tls = Tls(
            cluster.bytes_of("certificate-authority"),
            not cluster.value.get("insecure-skip-tls-verify"),
            cluster.text("tls-server-name"),
        )
    nobody = _Entry({}, chosen.path, chosen.where)
    return Access(
        server,
        context,
        namespace or chosen.text("namespace") or "default",
        _credentials(user or nobody, cluster, server, env),
        tls,
        tuple(_acting_for(user or nobody)),
        source=merged.source,
    )


def _credentials(user: _Entry, cluster: _Entry, server: str, env: Mapping[str, str]) -> Credentials:
    if "auth-provider" in user.value:
        name = (user.value["auth-provider"] or {}).get("name", "")
        raise NotSupported(
            f"{user.where}: auth-provider {name!r} is no way to log in any more, as for kubectl",
            fix="use the program that took its place, by exec (gke-gcloud-auth-plugin, kubelogin)",
        )
    certificate = user.bytes_of("client-certificate")
    key = user.bytes_of("client-key")
    if bool(certificate) != bool(key):
        there, missing = ("client-certificate", "client-key")[:: 1 if certificate else -1]
        raise user.wrong(there, f"comes without {missing}", "give both")
    authorization = ""
    if user.text("token"):
        authorization = f"Bearer {user.text('token')}"
    elif user.text("username"):
        authorization = basic(user.text("username"), user.text("password"))
    beside = Credential(authorization, certificate, key)
    if isinstance(entry := user.value.get("exec"), dict):
        told = {
            "server": server,
            "tls-server-name": cluster.text("tls-server-name"),
            "insecure-skip-tls-verify": bool(cluster.value.get("insecure-skip-tls-verify")),
            "certificate-authority-data": base64.b64encode(
                cluster.bytes_of("certificate-authority")
            ).decode(),
            "config": _extension(cluster),
        }
        folder = user.path.absolute().parent
        return program(
            entry, folder, env=env, cluster={k: v for k, v in told.items() if v}, beside=beside
        )
    if user.text("tokenFile"):
        return TokenFile(user.path.parent / user.text("tokenFile"), beside)
    return Fixed(beside)


def _extension(cluster: _Entry) -> Any:
    for item in cluster.value.get("extensions") or ():
        if item.get("name") == "client.authentication.k8s.io/exec":
            return item.get("extension")
    return None


def _acting_for(user: _Entry) -> Iterator[tuple[str, str]]:
    """Say whom we act for, with the headers that the API server reads."""
    if user.text("as"):
        yield "impersonate-user", user.text("as")
    if user.text("as-uid"):
        yield "impersonate-uid", user.text("as-uid")
    for group in user.value.get("as-groups") or ():
        yield "impersonate-group", str(group)
    for key, values in (user.value.get("as-user-extra") or {}).items():
        for value in values:
            yield f"impersonate-extra-{quote(str(key), safe='')}", str(value)


def _own_account(env: Mapping[str, str], account: Path, namespace: str) -> Access:
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    if ":" in host:
        host = f"[{host}]"
    try:
        authorities = (account / "ca.crt").read_bytes()
        own = (account / "namespace").read_text().strip()
    except OSError as error:
        raise ConfigError(
            "engine",
            f"this pod has no account of the cluster: {error.filename}: {error.strerror}",
            fix="let the pod have one (automountServiceAccountToken: true), or name a kubeconfig "
            "in KUBECONFIG",
        ) from error
    return Access(
        f"https://{host}:{port}",
        IN_CLUSTER,
        namespace or own or "default",
        TokenFile(account / "token", Credential()),
        Tls(authorities),
        in_cluster=True,
        source=str(account),
    )
