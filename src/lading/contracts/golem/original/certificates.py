"""TLS by the names of the original; what it returns goes to ``create`` of a client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.golem.constants import CLIENT_CERT_FILE as CLIENT_CERT_FILE_NAME
from lading.contracts.golem.constants import CLIENT_KEY_FILE as CLIENT_KEY_FILE_NAME
from lading.contracts.golem.constants import SERVER_CERT_FILE as SERVER_CERT_FILE_NAME
from lading.contracts.golem.constants import SERVER_KEY_FILE as SERVER_KEY_FILE_NAME
from lading.contracts.golem.tls import ClientTls, server_credentials

if TYPE_CHECKING:
    import grpc

__all__ = [
    "CLIENT_CERT_FILE_NAME",
    "CLIENT_KEY_FILE_NAME",
    "SERVER_CERT_FILE_NAME",
    "SERVER_KEY_FILE_NAME",
    "create_client_ssl_context",
    "create_server_ssl_context",
]


def create_client_ssl_context(directory: Path, server_cert_directory: Path) -> ClientTls | None:
    """Read what a client needs for TLS.

    Parameters
    ----------
    directory : Path
        Holds ``task_api_client_key.pem`` and ``task_api_client_cert.pem``.
    server_cert_directory : Path
        Holds ``task_api_server_cert.pem``.

    Returns
    -------
    ClientTls or None
        None if there is none of the files.

    Raises
    ------
    FileMissing
        There are only some.
    """
    files = (
        directory / CLIENT_KEY_FILE_NAME,
        directory / CLIENT_CERT_FILE_NAME,
        server_cert_directory / SERVER_CERT_FILE_NAME,
    )
    if not any(file.exists() for file in files):
        return None
    return ClientTls.read(directory, server_cert_directory)


def create_server_ssl_context(directory: Path) -> grpc.ServerCredentials | None:
    """Read what an application needs for TLS; None if it has no key and certificate there.

    Raises
    ------
    FileMissing
        There are only some.
    """
    names = (SERVER_KEY_FILE_NAME, SERVER_CERT_FILE_NAME)
    if not any((directory / name).exists() for name in names):
        return None
    return server_credentials(directory)
