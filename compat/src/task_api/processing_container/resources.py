"""Sizes of channels, and the memory they take."""

from lading.contracts.processing.original.sizes import calculate_bytes as calculate_bytes
from lading.contracts.processing.original.sizes import (
    compute_memory_requirement as compute_memory_requirement,
)
from lading.contracts.processing.original.sizes import (
    compute_memory_resources as compute_memory_resources,
)
from lading.contracts.processing.original.sizes import compute_target_size as compute_target_size
from lading.contracts.processing.original.sizes import human_readable_size as human_readable_size
from lading.contracts.processing.original.sizes import max_file_size as max_file_size
from lading.contracts.processing.original.sizes import sum_of_file_sizes as sum_of_file_sizes
