"""An application in a container."""

from lading.contracts.golem.original.containers import DockerTaskApiService as DockerTaskApiService
from lading.contracts.golem.original.containers import is_docker_available as is_docker_available
