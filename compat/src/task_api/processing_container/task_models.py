"""The models of task.json."""

from lading.contracts.processing.task import BaseConfig as BaseConfig
from lading.contracts.processing.task import DockerConfig as DockerConfig
from lading.contracts.processing.task import HostPathVolume as HostPathVolume
from lading.contracts.processing.task import IOChannel as IOChannel
from lading.contracts.processing.task import IOVolume as IOVolume
from lading.contracts.processing.task import K8sConfig as K8sConfig
from lading.contracts.processing.task import Task as Task
from lading.contracts.processing.task import TaskInstance as TaskInstance
from lading.contracts.processing.task import TaskRun as TaskRun
