"""The messages of the wire."""

from lading.contracts.golem.proto.golem_task_api_pb2 import AbortSubtaskReply as AbortSubtaskReply
from lading.contracts.golem.proto.golem_task_api_pb2 import (
    AbortSubtaskRequest as AbortSubtaskRequest,
)
from lading.contracts.golem.proto.golem_task_api_pb2 import AbortTaskReply as AbortTaskReply
from lading.contracts.golem.proto.golem_task_api_pb2 import AbortTaskRequest as AbortTaskRequest
from lading.contracts.golem.proto.golem_task_api_pb2 import ComputeReply as ComputeReply
from lading.contracts.golem.proto.golem_task_api_pb2 import ComputeRequest as ComputeRequest
from lading.contracts.golem.proto.golem_task_api_pb2 import CreateTaskReply as CreateTaskReply
from lading.contracts.golem.proto.golem_task_api_pb2 import CreateTaskRequest as CreateTaskRequest
from lading.contracts.golem.proto.golem_task_api_pb2 import (
    DiscardSubtasksReply as DiscardSubtasksReply,
)
from lading.contracts.golem.proto.golem_task_api_pb2 import (
    DiscardSubtasksRequest as DiscardSubtasksRequest,
)
from lading.contracts.golem.proto.golem_task_api_pb2 import (
    HasPendingSubtasksReply as HasPendingSubtasksReply,
)
from lading.contracts.golem.proto.golem_task_api_pb2 import (
    HasPendingSubtasksRequest as HasPendingSubtasksRequest,
)
from lading.contracts.golem.proto.golem_task_api_pb2 import Infrastructure as Infrastructure
from lading.contracts.golem.proto.golem_task_api_pb2 import NextSubtaskReply as NextSubtaskReply
from lading.contracts.golem.proto.golem_task_api_pb2 import NextSubtaskRequest as NextSubtaskRequest
from lading.contracts.golem.proto.golem_task_api_pb2 import RunBenchmarkReply as RunBenchmarkReply
from lading.contracts.golem.proto.golem_task_api_pb2 import (
    RunBenchmarkRequest as RunBenchmarkRequest,
)
from lading.contracts.golem.proto.golem_task_api_pb2 import ShutdownReply as ShutdownReply
from lading.contracts.golem.proto.golem_task_api_pb2 import ShutdownRequest as ShutdownRequest
from lading.contracts.golem.proto.golem_task_api_pb2 import SubtaskReply as SubtaskReply
from lading.contracts.golem.proto.golem_task_api_pb2 import VerifyReply as VerifyReply
from lading.contracts.golem.proto.golem_task_api_pb2 import VerifyRequest as VerifyRequest
