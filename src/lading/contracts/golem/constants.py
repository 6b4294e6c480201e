"""What both sides of the Golem Task API agree on: names of directories, ports and files.

The names of directories and environments stand in the ``.proto`` files, too, as their options;
a test holds the two together. Here they cost no import of protobuf.
"""

from __future__ import annotations

__all__ = [
    "CLIENT_CERT_FILE",
    "CLIENT_KEY_FILE",
    "DOCKER_CPU_ENV_ID",
    "DOCKER_GPU_ENV_ID",
    "PROVIDER_PORT",
    "REQUESTOR_PORT",
    "SERVER_CERT_FILE",
    "SERVER_KEY_FILE",
    "SUBTASK_INPUTS_DIR",
    "SUBTASK_OUTPUTS_DIR",
    "TASK_INPUTS_DIR",
    "TASK_OUTPUTS_DIR",
    "WORK_DIR",
]

TASK_INPUTS_DIR = "task_inputs"
"""In a task's directory of a requestor: what its user gave."""
SUBTASK_INPUTS_DIR = "subtask_inputs"
"""In a task's directory: the files that subtasks need."""
TASK_OUTPUTS_DIR = "task_outputs"
"""In a task's directory of a requestor: at the end all results, and nothing else."""
SUBTASK_OUTPUTS_DIR = "subtask_outputs"
"""In a task's directory of a requestor: a directory for the result of each subtask."""
WORK_DIR = "golem/work"
"""Where an application's container has its work directory, below the root."""

REQUESTOR_PORT = 50005
"""Where a requestor application listens, by convention."""
PROVIDER_PORT = 50006
"""Where a provider application listens, by convention."""

DOCKER_CPU_ENV_ID = "docker_cpu"
DOCKER_GPU_ENV_ID = "docker_gpu"

SERVER_KEY_FILE = "task_api_server_key.pem"
SERVER_CERT_FILE = "task_api_server_cert.pem"
CLIENT_KEY_FILE = "task_api_client_key.pem"
CLIENT_CERT_FILE = "task_api_client_cert.pem"
