"""What starts an application and calls it."""

from lading.contracts.golem.original.clients import AppClient as AppClient
from lading.contracts.golem.original.clients import ProviderAppClient as ProviderAppClient
from lading.contracts.golem.original.clients import RequestorAppClient as RequestorAppClient
from lading.contracts.golem.original.services import ShutdownException as ShutdownException
from lading.contracts.golem.original.services import TaskApiService as TaskApiService
