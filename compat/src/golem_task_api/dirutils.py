"""Work directories."""

from lading.contracts.golem.directories import ProviderDir as ProviderDir
from lading.contracts.golem.directories import ProviderTaskDir as ProviderTaskDir
from lading.contracts.golem.directories import RequestorDir as RequestorDir
from lading.contracts.golem.directories import RequestorTaskDir as RequestorTaskDir
