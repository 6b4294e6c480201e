"""Their ids."""

from lading.contracts.golem.constants import DOCKER_CPU_ENV_ID as DOCKER_CPU_ENV_ID
from lading.contracts.golem.constants import DOCKER_GPU_ENV_ID as DOCKER_GPU_ENV_ID
