"""The generated module of envs.proto."""

from lading.contracts.golem.proto.envs_pb2 import DESCRIPTOR as DESCRIPTOR
from lading.contracts.golem.proto.envs_pb2 import DockerPrerequisites as DockerPrerequisites
