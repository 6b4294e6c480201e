"""What callers send: every shape in the wild is read, everything else is refused by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contracts.meca.request import (
    MIN_MEMORY,
    Request,
    TaskLimits,
    as_resource,
    read_limits,
    read_request,
)
from lading.errors import InputError, InvalidLimit
from lading.units import MIB


def read(**fields: Any) -> Request:
    return read_request(json.dumps(fields).encode())


def test_defaults() -> None:
    request = read(id="a/b:1", input='{"name": "sbip"}')
    assert request == Request("a/b:1", TaskLimits(1.0, 128 * MIB), False, b'{"name": "sbip"}')


@pytest.mark.parametrize(
    ("resource", "limits"),
    [
        (None, TaskLimits()),
        ({}, TaskLimits()),
        ({"cpu": 2, "mem": 256}, TaskLimits(2.0, 256 * MIB)),
        ({"cpu": 0.5, "memory": 64}, TaskLimits(0.5, 64 * MIB)),
        ({"task_cpu": 1.5, "task_mem": 32}, TaskLimits(1.5, 32 * MIB)),
        ({"resource": {"cpu": 3, "mem": 200}}, TaskLimits(3.0, 200 * MIB)),
        ({"use_sgx": True}, TaskLimits(sgx=True)),
        ({"useSgx": True}, TaskLimits(sgx=True)),
        ({"use_gpu": True, "gpu_count": 3}, TaskLimits(gpus=3)),
        ({"useGpu": True, "gpuCount": 2}, TaskLimits(gpus=2)),
        ({"use_gpu": True, "gpu_count": 0}, TaskLimits(gpus=1)),
        ({"use_gpu": False, "gpu_count": 3}, TaskLimits()),
        ({"cpu": 1, "mem": 128, "use_gpu": False, "gpu_count": 0}, TaskLimits()),
    ],
)
def test_resources_in_the_wild(resource: Any, limits: TaskLimits) -> None:
    assert read(id="x", resource=resource).limits == limits


@pytest.mark.parametrize("name", ["use_sgx", "useSgx"])
def test_sgx_beside_the_resource(name: str) -> None:
    request = read(id="x", input="SGXRAREQUEST", **{name: True})
    assert request.limits.sgx
    assert request.attestation


def test_attestation_needs_sgx() -> None:
    assert not read(id="x", input="SGXRAREQUEST").attestation
    assert not read(id="x", input="SGXRAREQUEST ", use_sgx=True).attestation


@pytest.mark.parametrize(
    ("given_input", "body"),
    [
        ("text", b"text"),
        ("", b""),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'.encode()),
        ([1, 2], b"[1,2]"),
        (3, b"3"),
        (None, b"null"),
        (True, b"true"),
    ],
)
def test_input_of_any_type(given_input: Any, body: bytes) -> None:
    assert read(id="x", input=given_input).body == body


def test_no_input_is_an_empty_body() -> None:
    assert read(id="x").body == b""


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b"[]", "an array"),
        (b"3", "a number"),
        (b"null", "null"),
        (b'{"id": "x", "resource": {"cpu": NaN}}', "NaN"),
        (b'{"id": "x", "resource": {"cpu": Infinity}}', "Infinity"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"[" * 10_000_000, "nested too deep"),
        (b'{"id": "x", "input": "\\ud800"}', "input"),
        (b'{"id": "x", "input": 1e999}', "input: holds a number"),
        (b'{"id": "x", "more": ' + b"1" * 5000 + b"}", "too many digits"),
    ],
)
def test_what_is_not_json(raw: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_request(raw)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "id"),
        ({"id": ""}, "id"),
        ({"id": "  "}, "id"),
        ({"id": 5}, "id"),
        ({"id": None}, "id"),
        ({"id": ["x"]}, "id"),
        ({"id": "x", "resource": 5}, "resource"),
        ({"id": "x", "resource": "big"}, "resource"),
        ({"id": "x", "resource": []}, "resource"),
        ({"id": "x", "resource": {"use_gpu": "yes"}}, "resource.use_gpu"),
        ({"id": "x", "resource": {"use_sgx": 1}}, "resource.use_sgx"),
        ({"id": "x", "use_sgx": "true"}, "use_sgx"),
        ({"id": "x", "runtime": "vm"}, "runtime"),
        ({"id": "x", "runtime": 5}, "runtime"),
        ({"id": "x", "timeout": 0}, "timeout"),
        ({"id": "x", "timeout": "5"}, "timeout"),
    ],
)
def test_wrong_types_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        read(**fields)
    assert caught.value.field == field
    assert not isinstance(caught.value, InvalidLimit)


@pytest.mark.parametrize(
    ("resource", "field"),
    [
        ({"cpu": 0}, "resource.cpu"),
        ({"cpu": -1}, "resource.cpu"),
        ({"cpu": 0.001}, "resource.cpu"),
        ({"cpu": "1"}, "resource.cpu"),
        ({"cpu": True}, "resource.cpu"),
        ({"cpu": 10**400}, "resource.cpu"),
        ({"mem": 0}, "resource.mem"),
        ({"mem": -128}, "resource.mem"),
        ({"mem": 5}, "resource.mem"),
        ({"mem": [128]}, "resource.mem"),
        ({"use_gpu": True, "gpu_count": -1}, "resource.gpu_count"),
        ({"use_gpu": True, "gpu_count": 1.5}, "resource.gpu_count"),
        ({"use_gpu": True, "gpu_count": True}, "resource.gpu_count"),
    ],
)
def test_impossible_limits_are_named(resource: Any, field: str) -> None:
    with pytest.raises(InvalidLimit) as caught:
        read(id="x", resource=resource)
    assert caught.value.field == field


def test_infinite_by_exponent() -> None:
    with pytest.raises(InvalidLimit, match="finite"):
        read_request(b'{"id": "x", "resource": {"cpu": 1e999}}')


@pytest.mark.parametrize("name", ["cpu", "mem"])
def test_absurd_limits_stay_numbers(name: str) -> None:
    limits = read(id="x", resource={name: 1e308}).limits
    assert limits.cpus > 1e11 or limits.memory > 1e17


def test_absurd_whole_numbers_stay_numbers() -> None:
    request = read(id="x", timeout=10**400, resource={"use_gpu": True, "gpu_count": 10**400})
    assert request.timeout
    assert request.timeout > 1e11
    assert 10**11 < request.limits.gpus < 10**18


def test_unknown_fields_are_ignored_with_a_warning() -> None:
    request = read(id="x", colour="red", resource={"cpus": 4})
    assert request.limits == TaskLimits()
    assert "colour" in " ".join(request.warnings)
    assert "resource.cpus" in " ".join(request.warnings)


def test_a_warning_is_one_line_and_there_are_few() -> None:
    many = {f"a\n{number}": 1 for number in range(1000)}
    request = read(id="x", resource=many, **many)
    assert len(request.warnings) == 12
    assert "995 more" in request.warnings[-1]
    assert "\n" not in "".join(request.warnings)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    ["id", "resource", "runtime", "input", "use_sgx", "useSgx", "timeout", "cpu", "mem", "use_gpu"]
)


@given(st.dictionaries(names | st.text(), json_values))
def test_any_json_object_is_read_or_refused(content: dict[str, Any]) -> None:
    try:
        request = read_request(json.dumps(content).encode())
    except InputError as error:
        assert str(error)
    else:
        assert request.image
        assert request.limits.cpus > 0
        assert request.limits.memory > 0


@given(st.binary())
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        read_request(raw)
    except InputError as error:
        assert str(error)


@given(json_values)
def test_any_resource_is_read_or_refused(resource: Any) -> None:
    try:
        limits = read_limits(resource)
    except InputError as error:
        assert error.field.startswith("resource")
    else:
        assert limits.cpus > 0


@given(
    cpus=st.integers(10, 10**6).map(lambda thousandths: thousandths / 1000),
    memory=st.integers(MIN_MEMORY, 1 << 50),
    gpus=st.integers(0, 64),
    sgx=st.booleans(),
)
def test_limits_that_are_written_are_read_back(
    cpus: float, memory: int, gpus: int, sgx: bool
) -> None:
    """Half a MiB as well: others decide by it whether their task fits."""
    limits = TaskLimits(cpus, memory, gpus, sgx)
    assert read_limits(json.loads(json.dumps(as_resource(limits)))) == limits
    assert isinstance(as_resource(TaskLimits(memory=64 << 20))["mem"], int)
