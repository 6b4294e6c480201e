"""Names of directories."""

from lading.contracts.golem.constants import SUBTASK_INPUTS_DIR as SUBTASK_INPUTS_DIR
from lading.contracts.golem.constants import SUBTASK_OUTPUTS_DIR as SUBTASK_OUTPUTS_DIR
from lading.contracts.golem.constants import TASK_INPUTS_DIR as TASK_INPUTS_DIR
from lading.contracts.golem.constants import TASK_OUTPUTS_DIR as TASK_OUTPUTS_DIR
from lading.contracts.golem.constants import WORK_DIR as WORK_DIR
