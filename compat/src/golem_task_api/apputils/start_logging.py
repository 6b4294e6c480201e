"""What an application logs."""

from lading.contracts.golem.original.logging_levels import (
    DEFAULT_EXTERNAL_LOGGERS as DEFAULT_EXTERNAL_LOGGERS,
)
from lading.contracts.golem.original.logging_levels import DEFAULT_LEVEL as DEFAULT_LEVEL
from lading.contracts.golem.original.logging_levels import LOG_LEVEL_VALUES as LOG_LEVEL_VALUES
from lading.contracts.golem.original.logging_levels import from_arg as from_arg
