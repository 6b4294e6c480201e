"""The protocol as it is on the wire, held against tables written from the contract.

The reference client here is made from those tables alone: our ``.proto`` files and what is
generated from them have no part in it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tests.contracts.golem.conftest import Serve
from tests.contracts.golem.sample_app import Provider, Requestor

from lading.contracts.golem import constants, structs
from lading.contracts.golem.proto import constants_pb2, envs_pb2, golem_task_api_pb2
from lading.contracts.golem.servers import ProviderServer, RequestorServer

ROOT = Path(__file__).parents[3]
Field = descriptor_pb2.FieldDescriptorProto
STRING, INT32, FLOAT, BOOL = Field.TYPE_STRING, Field.TYPE_INT32, Field.TYPE_FLOAT, Field.TYPE_BOOL

# Of each message: number, name and type of its fields. A list is repeated, a text another message.
MESSAGES: dict[str, list[tuple[int, str, Any]]] = {
    "Infrastructure": [(1, "min_memory_mib", FLOAT)],
    "CreateTaskRequest": [
        (1, "task_id", STRING),
        (2, "max_subtasks_count", INT32),
        (3, "task_params_json", STRING),
    ],
    "CreateTaskReply": [
        (1, "env_id", STRING),
        (2, "prerequisites_json", STRING),
        (3, "inf_requirements", "Infrastructure"),
    ],
    "NextSubtaskRequest": [
        (1, "task_id", STRING),
        (2, "subtask_id", STRING),
        (3, "opaque_node_id", STRING),
    ],
    "SubtaskReply": [(1, "subtask_params_json", STRING), (2, "resources", [STRING])],
    "NextSubtaskReply": [(1, "subtask", "SubtaskReply")],
    "ComputeRequest": [
        (1, "task_id", STRING),
        (2, "subtask_id", STRING),
        (3, "subtask_params_json", STRING),
    ],
    "ComputeReply": [(1, "output_filepath", STRING)],
    "VerifyRequest": [(1, "task_id", STRING), (2, "subtask_id", STRING)],
    "VerifyReply": [(1, "result", "VerifyReply.VerifyResult"), (2, "reason", STRING)],
    "DiscardSubtasksRequest": [(1, "task_id", STRING), (2, "subtask_ids", [STRING])],
    "DiscardSubtasksReply": [(1, "discarded_subtask_ids", [STRING])],
    "RunBenchmarkRequest": [],
    "RunBenchmarkReply": [(1, "score", FLOAT)],
    "HasPendingSubtasksRequest": [(1, "task_id", STRING)],
    "HasPendingSubtasksReply": [(1, "has_pending_subtasks", BOOL)],
    "AbortTaskRequest": [(1, "task_id", STRING)],
    "AbortTaskReply": [],
    "AbortSubtaskRequest": [(1, "task_id", STRING), (2, "subtask_id", STRING)],
    "AbortSubtaskReply": [],
    "ShutdownRequest": [],
    "ShutdownReply": [],
}
VERDICTS = {"SUCCESS": 0, "FAILURE": 1, "AWAITING_DATA": 2, "INCONCLUSIVE": 3}
SERVICES = {
    "RequestorApp": [
        "CreateTask",
        "NextSubtask",
        "Verify",
        "DiscardSubtasks",
        "RunBenchmark",
        "HasPendingSubtasks",
        "AbortTask",
        "AbortSubtask",
        "Shutdown",
    ],
    "ProviderApp": ["Compute", "RunBenchmark", "Shutdown"],
}


def reference_file() -> descriptor_pb2.FileDescriptorProto:
    """Build the protocol from the tables."""
    file = descriptor_pb2.FileDescriptorProto(
        name="reference.proto", package="golem_task_api", syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field_name, described in fields:
            repeated = isinstance(described, list)
            kind = described[0] if repeated else described
            field = message.field.add(name=field_name, number=number, label=Field.LABEL_OPTIONAL)
            if repeated:
                field.label = Field.LABEL_REPEATED
            if isinstance(kind, str):
                nested = "." in kind
                field.type = Field.TYPE_ENUM if nested else Field.TYPE_MESSAGE
                field.type_name = f".golem_task_api.{kind}"
            else:
                field.type = kind
    by_name = {message.name: message for message in file.message_type}
    enum = by_name["VerifyReply"].enum_type.add(name="VerifyResult")
    for verdict, number in VERDICTS.items():
        enum.value.add(name=verdict, number=number)
    by_name["NextSubtaskReply"].oneof_decl.add(name="subtask_oneof")
    by_name["NextSubtaskReply"].field[0].oneof_index = 0
    for name, methods in SERVICES.items():
        service = file.service.add(name=name)
        for method in methods:
            service.method.add(
                name=method,
                input_type=f".golem_task_api.{method}Request",
                output_type=f".golem_task_api.{method}Reply",
            )
    return file


def _bare(file: descriptor_pb2.FileDescriptorProto) -> dict[str, Any]:
    """Take what matters of a file: no order, no names of JSON that follow from the names."""
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")
    for service in file.service:
        for method in service.method:
            method.ClearField("options")
    return {
        "package": file.package,
        "syntax": file.syntax,
        "messages": {message.name: message for message in file.message_type},
        "services": {
            service.name: {method.name: method for method in service.method}
            for service in file.service
        },
        "others": (list(file.enum_type), list(file.extension), list(file.dependency)),
    }


def test_messages_and_services_are_those_of_the_contract() -> None:
    ours = descriptor_pb2.FileDescriptorProto()
    golem_task_api_pb2.DESCRIPTOR.CopyToProto(ours)
    assert _bare(ours) == _bare(reference_file())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (
            constants_pb2,
            {
                51000: ("TASK_INPUTS_DIR", "task_inputs"),
                51001: ("SUBTASK_INPUTS_DIR", "subtask_inputs"),
                51002: ("TASK_OUTPUTS_DIR", "task_outputs"),
                51003: ("SUBTASK_OUTPUTS_DIR", "subtask_outputs"),
                51100: ("WORK_DIR", "golem/work"),
            },
        ),
        (
            envs_pb2,
            {
                52000: ("DOCKER_CPU_ENV_ID", "docker_cpu"),
                52001: ("DOCKER_GPU_ENV_ID", "docker_gpu"),
            },
        ),
    ],
    ids=["constants", "envs"],
)
def test_constants_are_options_of_their_files(
    module: Any, expected: dict[int, tuple[str, str]]
) -> None:
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    found = {
        extension.number: (
            extension.name,
            module.DESCRIPTOR.GetOptions().Extensions[getattr(module, extension.name)],
        )
        for extension in file.extension
    }
    assert found == expected
    assert file.package == "golem_task_api"
    assert {item.extendee for item in file.extension} == {".google.protobuf.FileOptions"}
    for name, value in expected.values():
        assert getattr(constants, name) == value


def test_prerequisites_of_docker() -> None:
    fields = envs_pb2.DockerPrerequisites.DESCRIPTOR.fields
    assert [(field.number, field.name, field.type) for field in fields] == [
        (1, "image", STRING),
        (2, "tag", STRING),
    ]


def test_verdicts_have_the_numbers_of_the_wire() -> None:
    assert {verdict.name: verdict.value for verdict in structs.VerifyResult} == VERDICTS


def test_the_generated_code_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/protos", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Reference:
    """A client made from the tables of this file."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(reference_file())
        self._pool = pool
        self._channel = channel

    def new(self, name: str, **fields: Any) -> Any:
        kind = self._pool.FindMessageTypeByName(f"golem_task_api.{name}")
        return message_factory.GetMessageClass(kind)(**fields)

    async def __call__(self, service: str, method: str, **fields: Any) -> Any:
        call: Any = self._channel.unary_unary(
            f"/golem_task_api.{service}/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=type(self.new(f"{method}Reply")).FromString,
        )
        return await call(self.new(f"{method}Request", **fields))


async def test_a_requestor_under_the_reference_client(serve: Serve, tmp_path: Path) -> None:
    handler = Requestor()
    target = await serve(RequestorServer(tmp_path, handler))
    async with grpc.aio.insecure_channel(target) as channel:
        call = Reference(channel)

        async def ask(method: str, **fields: Any) -> Any:
            return await call("RequestorApp", method, **fields)

        task = await ask(
            "CreateTask", task_id="t1", max_subtasks_count=3, task_params_json='{"a": [1]}'
        )
        assert task == call.new(
            "CreateTaskReply",
            env_id="docker_cpu",
            prerequisites_json='{"image": "image", "tag": "1.0"}',
            inf_requirements=call.new("Infrastructure", min_memory_mib=64.0),
        )
        subtask = await ask("NextSubtask", task_id="t1", subtask_id="s1", opaque_node_id="n1")
        assert subtask.WhichOneof("subtask_oneof") == "subtask"
        assert subtask.subtask == call.new(
            "SubtaskReply", subtask_params_json='{"part": "s1"}', resources=["a", "b"]
        )
        refused = await ask("NextSubtask", task_id="t1", subtask_id="s", opaque_node_id="unwanted")
        assert refused.WhichOneof("subtask_oneof") is None
        for name, number in VERDICTS.items():
            verdict = await ask("Verify", task_id="t1", subtask_id=name)
            assert verdict.result == number
            assert verdict.reason == ("because" if number else "")
        gone = await ask("DiscardSubtasks", task_id="t1", subtask_ids=["s1", "s2"])
        assert list(gone.discarded_subtask_ids) == ["s1", "s2", "dependent"]
        assert (await ask("RunBenchmark")).score == 12.5
        assert (await ask("HasPendingSubtasks", task_id="pending")).has_pending_subtasks
        assert not (await ask("HasPendingSubtasks", task_id="t1")).has_pending_subtasks
        assert await ask("AbortSubtask", task_id="t1", subtask_id="s1") == call.new(
            "AbortSubtaskReply"
        )
        assert await ask("AbortTask", task_id="t1") == call.new("AbortTaskReply")
        assert await ask("Shutdown") == call.new("ShutdownReply")
    directory = tmp_path / "t1"
    assert handler.calls[:2] == [
        ("create_task", directory, 3, {"a": [1]}),
        ("next_subtask", directory, "s1", "n1"),
    ]
    assert handler.calls[7:] == [
        ("discard_subtasks", directory, ["s1", "s2"]),
        ("run_benchmark", tmp_path),
        ("has_pending_subtasks", tmp_path / "pending"),
        ("has_pending_subtasks", directory),
        ("abort_subtask", directory, "s1"),
        ("abort_task", directory),
    ]


async def test_a_provider_under_the_reference_client(serve: Serve, tmp_path: Path) -> None:
    target = await serve(ProviderServer(tmp_path, Provider()))
    async with grpc.aio.insecure_channel(target) as channel:
        reply = await Reference(channel)(
            "ProviderApp", "Compute", task_id="t1", subtask_id="s1", subtask_params_json='{"a": 1}'
        )
    assert reply.output_filepath == "s1/result"
    assert (tmp_path / "s1/result").read_text() == "{'a': 1}"


async def test_a_providers_benchmark_under_the_reference_client(
    serve: Serve, tmp_path: Path
) -> None:
    target = await serve(ProviderServer(tmp_path, Provider()))
    async with grpc.aio.insecure_channel(target) as channel:
        reply = await Reference(channel)("ProviderApp", "RunBenchmark")
    assert reply.score == 0.5
