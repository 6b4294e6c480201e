"""The generated module of constants.proto."""

from lading.contracts.golem.proto.constants_pb2 import DESCRIPTOR as DESCRIPTOR
