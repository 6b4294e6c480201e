"""The JSON Schemas; as a script, it writes them into the current directory."""

from lading.contracts.processing.original.schema_files import (
    processing_container_schema as processing_container_schema,
)
from lading.contracts.processing.original.schema_files import task_schema as task_schema
from lading.contracts.processing.original.schema_files import write_schemas as write_schemas

if __name__ == "__main__":
    write_schemas()
