"""Verdicts."""

from lading.contracts.golem.structs import VerifyResult as VerifyResult
