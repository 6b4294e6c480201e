"""Mutual TLS."""

from lading.contracts.golem.original.certificates import (
    CLIENT_CERT_FILE_NAME as CLIENT_CERT_FILE_NAME,
)
from lading.contracts.golem.original.certificates import (
    CLIENT_KEY_FILE_NAME as CLIENT_KEY_FILE_NAME,
)
from lading.contracts.golem.original.certificates import (
    SERVER_CERT_FILE_NAME as SERVER_CERT_FILE_NAME,
)
from lading.contracts.golem.original.certificates import (
    SERVER_KEY_FILE_NAME as SERVER_KEY_FILE_NAME,
)
from lading.contracts.golem.original.certificates import (
    create_client_ssl_context as create_client_ssl_context,
)
from lading.contracts.golem.original.certificates import (
    create_server_ssl_context as create_server_ssl_context,
)
