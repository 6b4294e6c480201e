"""Mutual TLS between an application and its client, by files in their work directories.

The application's directory holds its key, its certificate and the client's certificate; the
client has its own key and certificate, and the application's. Certificates are their own issuers:
each side knows the other's, and trusts nobody else's.

Everything here reads files, so a running event loop calls it by :func:`asyncio.to_thread`.
"""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lading.contracts.golem.constants import (
    CLIENT_CERT_FILE,
    CLIENT_KEY_FILE,
    SERVER_CERT_FILE,
    SERVER_KEY_FILE,
)
from lading.errors import FileInvalid, FileMissing, NotSupported

if TYPE_CHECKING:
    import grpc

__all__ = ["ClientTls", "make_certificates", "server_credentials"]

_VALID_DAYS = 3650


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a client shows to an application, and what it expects of it.

    Parameters
    ----------
    key, certificate : bytes
        The client's own, as PEM.
    server_certificate : bytes
        The only one that is trusted, as PEM.
    server_name : str
        The name in it: such a certificate knows no address.
    """

    key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    server_certificate: bytes = field(repr=False)
    server_name: str

    @classmethod
    def read(cls, directory: Path, server_cert_directory: Path | None = None) -> Self:
        """Read the files of a client.

        Parameters
        ----------
        directory : Path
            Holds the client's key and certificate.
        server_cert_directory : Path or None
            Holds the application's certificate; None: the same.

        Raises
        ------
        FileMissing
            If one of the files is not there.
        FileInvalid
            If the application's certificate is none, or nameless.
        """
        server_cert = (server_cert_directory or directory) / SERVER_CERT_FILE
        return cls(
            key=_read(directory / CLIENT_KEY_FILE),
            certificate=_read(directory / CLIENT_CERT_FILE),
            server_certificate=_read(server_cert),
            server_name=_name_in(server_cert),
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """Return this as gRPC wants it."""
        import grpc  # noqa: PLC0415  # heavy

        return grpc.ssl_channel_credentials(self.server_certificate, self.key, self.certificate)


def server_credentials(work_dir: Path) -> grpc.ServerCredentials:
    """Read an application's credentials.

    Parameters
    ----------
    work_dir : Path
        Holds all three files of the application's side.

    Raises
    ------
    FileMissing
        If only some of the files are there: a service meant to be closed must not be open.
    """
    key, certificate, client = (
        work_dir / name for name in (SERVER_KEY_FILE, SERVER_CERT_FILE, CLIENT_CERT_FILE)
    )
    import grpc  # noqa: PLC0415  # heavy

    pair = (_read(key), _read(certificate))
    return grpc.ssl_server_credentials(
        [pair], root_certificates=_read(client), require_client_auth=True
    )


def make_certificates(server_dir: Path, client_dir: Path) -> None:
    """Make a key and a certificate for each side, by ``openssl``, where the two look for them.

    Parameters
    ----------
    server_dir : Path
        Gets what the application needs.
    client_dir : Path
        Gets what the client needs; may be the same.

    Raises
    ------
    NotSupported
        If there is no ``openssl`` here, or it fails.
    """
    sides = (
        (server_dir, SERVER_KEY_FILE, SERVER_CERT_FILE, client_dir),
        (client_dir, CLIENT_KEY_FILE, CLIENT_CERT_FILE, server_dir),
    )
    for own, key_name, certificate_name, other in sides:
        key, certificate = own / key_name, own / certificate_name
        key.touch(mode=0o600)
        _make_certificate(key, certificate)
        if other != own:
            (other / certificate_name).write_bytes(certificate.read_bytes())


def _make_certificate(key: Path, certificate: Path) -> None:
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", str(_VALID_DAYS)]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # our words
    except FileNotFoundError:
        raise NotSupported(
            "certificates: there is no `openssl` here", fix="install openssl"
        ) from None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        raise NotSupported(f"certificates: openssl failed for {certificate}: {why}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileMissing(
            str(path),
            [f"{path} is missing: TLS needs it"],
            fix="give it, or take the other files of TLS away",
        ) from None


def _name_in(certificate: Path) -> str:
    """Return a name that a certificate is good for; gRPC does not trust one without."""
    try:
        # The only one in the standard library that reads a certificate that no connection showed.
        fields = ssl._ssl._test_decode_cert(str(certificate))  # type: ignore[attr-defined]  # noqa: SLF001
    except ssl.SSLError as error:
        raise FileInvalid(
            str(certificate), [f"{certificate} is no certificate: {error}"]
        ) from error
    names: list[str] = [value for kind, value in fields.get("subjectAltName", ()) if kind == "DNS"]
    names += [
        value for part in fields.get("subject", ()) for kind, value in part if kind == "commonName"
    ]
    if not names:
        raise FileInvalid(str(certificate), [f"{certificate} names nobody"])
    return names[0].replace("*", "any")
