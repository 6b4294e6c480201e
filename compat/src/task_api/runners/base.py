"""What all runners have in common."""

from lading.contracts.processing.original.runner import BaseRunner as BaseRunner
