"""The command line: ``python3 -m task_api.cli``."""

from lading.cli.original import Modes as Modes
from lading.cli.original import Schema as Schema
from lading.cli.original import app as app
from lading.cli.original import check_task_run as check_task_run
from lading.cli.original import logger as logger
from lading.cli.original import logs as logs
from lading.cli.original import monitor_container_memory as monitor_container_memory
from lading.cli.original import processing_container as processing_container
from lading.cli.original import run as run
from lading.cli.original import validate as validate

if __name__ == "__main__":
    app(prog_name="python3 -m task_api.cli")
