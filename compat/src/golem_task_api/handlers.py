"""What an application implements."""

from lading.contracts.golem.handlers import AppLifecycleHandler as AppLifecycleHandler
from lading.contracts.golem.handlers import ProviderAppHandler as ProviderAppHandler
from lading.contracts.golem.handlers import RequestorAppHandler as RequestorAppHandler
