"""Environments."""

from lading.contracts.golem.environments import DOCKER_CPU_ENV_ID as DOCKER_CPU_ENV_ID
from lading.contracts.golem.environments import DOCKER_GPU_ENV_ID as DOCKER_GPU_ENV_ID
from lading.contracts.golem.environments import create_docker_cpu_task as create_docker_cpu_task
from lading.contracts.golem.environments import create_docker_gpu_task as create_docker_gpu_task
