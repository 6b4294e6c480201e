"""The models of processing-container.json."""

from lading.contracts.processing.template import BaseEnv as BaseEnv
from lading.contracts.processing.template import BaseTask as BaseTask
from lading.contracts.processing.template import IOBase as IOBase
from lading.contracts.processing.template import IOMount as IOMount
from lading.contracts.processing.template import ProcessingContainer as ProcessingContainer
from lading.contracts.processing.template import Resources as Resources
from lading.contracts.processing.template import ScaleRule as ScaleRule
from lading.contracts.processing.template import ScaleRuleMode as ScaleRuleMode
from lading.contracts.processing.template import ScaleRuleType as ScaleRuleType
from lading.contracts.processing.template import TaskTemplate as TaskTemplate
from lading.contracts.processing.template import TaskTemplateEnv as TaskTemplateEnv
