"""Files read, tasks put together, templates found."""

from lading.contracts.processing.original.reading import (
    create_task_instance as create_task_instance,
)
from lading.contracts.processing.original.reading import (
    get_processing_container as get_processing_container,
)
from lading.contracts.processing.original.reading import get_task_template as get_task_template
from lading.contracts.processing.original.reading import merge_env as merge_env
from lading.contracts.processing.original.reading import merge_io_channels as merge_io_channels
from lading.contracts.processing.original.reading import (
    parse_processing_container as parse_processing_container,
)
from lading.contracts.processing.original.reading import parse_task as parse_task
