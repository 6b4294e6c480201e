"""Tasks on a container engine of this machine."""

from lading.contracts.processing.original.local import DockerRunner as DockerRunner
