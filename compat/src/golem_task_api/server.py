"""The servers of an application."""

from lading.contracts.golem.original.servers import AppServer as AppServer
from lading.contracts.golem.original.servers import ProviderAppServer as ProviderAppServer
from lading.contracts.golem.original.servers import RequestorAppServer as RequestorAppServer
