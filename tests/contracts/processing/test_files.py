"""Reading files: what is found in them, at which path, on which line."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.processing.documents import CONTAINER, TASK, changed, checked, found
from tests.contracts.processing.test_positions import ANY_JSON

from lading.contracts.processing.reading.files import (
    check_file,
    load_container,
    load_task,
    read_task,
)
from lading.contracts.processing.task import Task
from lading.contracts.processing.template import ProcessingContainer
from lading.errors import FileInvalid

TEMPLATE = "templates.0"
INPUT = f"{TEMPLATE}.inputs.0"
RULE = f"{INPUT}.scale_rule"
LIMITS = f"{TEMPLATE}.resources.limits"


def spelled(path: str) -> str:
    return re.sub(r"\.(\d+)", r"[\1]", path)


def test_documents_to_the_letter_have_no_findings() -> None:
    report = checked(CONTAINER)
    assert (report.kind, report.findings) == ("pc", [])
    assert isinstance(report.model, ProcessingContainer)
    report = checked(TASK)
    assert (report.kind, report.findings) == ("task", [])
    assert isinstance(report.model, Task)


UNITS = "n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("name", ..., "is missing"),
        ("templates", {}, "must be a list, not an object"),
        ("api_version", 2, "must be 1, not 2"),
        (f"{TEMPLATE}.identifier", 3, "must be a text, not a number"),
        (f"{TEMPLATE}.identifier", "", "is empty"),
        (f"{INPUT}.mounted_path", "in", "must be an absolute path, such as /in, not 'in'"),
        (f"{RULE}.mode", "x", "must be 'sum', 'max_file_size' or 'max_item_sum', not 'x'"),
        (f"{RULE}.type", 1, "must be 'limit' or 'request', not 1"),
        (f"{RULE}.complexity", "n*2", "'n*2' is no expression in n, such as 1.5n, 10*n or n**2"),
        (f"{RULE}.scale_factor", 1e30, "is too large a number"),
        (f"{RULE}.scale_factor", "much", "'much' is no number"),
        (f"{RULE}.target_dir", "../x", "'../x' leads out of the channel"),
        (f"{RULE}.target_dir", "a/..", "'a/..' leads out of the channel"),
        (f"{RULE}.target_glob", "/etc/*", "'/etc/*' leads out of the channel"),
        (f"{RULE}.target_regex", 5, "must be a text, not a number"),
        (f"{LIMITS}.memory", "1Qi", f"unknown unit 'Qi' in '1Qi'; use one of {UNITS}"),
        (f"{LIMITS}.memory", "-1Gi", "'-1Gi' is negative; write one such as 512Mi, 2 or 500m"),
        (f"{LIMITS}.memory", "1e30", "'1e30' is more than any machine has; write less"),
        (f"{LIMITS}.cpu", True, "True is not a quantity; write one such as 512Mi, 2 or 500m"),
        (f"{LIMITS}.cpu", [], "[] is not a quantity; write one such as 512Mi, 2 or 500m"),
        (LIMITS, [], "must be an object, not a list"),
        (f"{TEMPLATE}.env.0.name", "A=B", r"'A=B' does not match ^[^=\x00]+$"),
        (f"{TEMPLATE}.command", "python3 x", "must be a list, not a text"),
    ],
)  # fmt: skip
def test_an_error_in_a_container_names_its_path(path: str, value: Any, says: str) -> None:
    assert found(changed(CONTAINER, path, value)) == [f"error: {spelled(path)}: {says}"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("image", ..., "is missing"),
        ("name", "", "is empty"),
        ("taskTemplate", ..., "is missing"),
        ("taskTemplate", 5, "must be a text, not a number"),
        ("taskTemplate", "", "is empty"),
        ("inputs.0.volume_source", ..., "is missing"),
        ("inputs.0.volume_source", "/data", "must be an object, not a text"),
        ("inputs.0.volume_source.host_path", 4, "must be a text, not a number"),
        ("inputs.0.volume_source", {}, 'is empty; write {"host_path": "/data/in"}'),
        ("config.labels", [1], "must be an object, not a list"),
        ("config", 7, "must be an object, not a number"),
    ],
)
def test_an_error_in_a_task_names_its_path(path: str, value: Any, says: str) -> None:
    assert found(changed(TASK, path, value)) == [f"error: {spelled(path)}: {says}"]


def test_an_error_in_an_inline_template_names_its_path() -> None:
    document = changed(TASK, "taskTemplate", CONTAINER["templates"][0])
    assert found(document) == []
    assert found(changed(document, "taskTemplate.inputs.0.name")) == [
        "error: taskTemplate.inputs[0].name: is missing"
    ]


def test_a_regular_expression_that_is_none() -> None:
    (line,) = found(changed(CONTAINER, f"{RULE}.target_regex", "a(b"))
    assert line.startswith(f"error: {spelled(RULE)}.target_regex: 'a(b' is no regular expression")
    assert "position 1" in line


def test_a_scale_rule_needs_a_factor() -> None:
    (line,) = found(changed(CONTAINER, f"{RULE}.scale_factor"))
    assert line.startswith(f"error: {spelled(RULE)}: needs a scale_factor, as 1.5, or")


@pytest.mark.parametrize(
    ("document", "kind", "says"),
    [
        ("[1]", None, "must be a JSON object, not a list"),
        ("{}", None, "is neither a processing-container.json (it has no templates) nor"),
        ('{"name": "x"}', "task", "image: is missing"),
        ('{"name": "x"}', "pc", "templates: is missing"),
        # The first version of the format: one template, at the top.
        ('{"name": "x", "inputs": [{"name": "i", "mounted_path": "/i"}]}', None,
         "templates: is missing"),
        ('{"templates": 1, "image": "i"}', None, "templates: must be a list"),
    ],
)  # fmt: skip
def test_the_kind_is_found_by_the_fields(document: str, kind: str | None, says: str) -> None:
    assert any(says in line for line in found(document, kind=kind))


def test_a_line_and_a_column_lead_to_the_value() -> None:
    text = json.dumps(changed(CONTAINER, f"{TEMPLATE}.env.0.name", 3), indent=2)
    (error,) = checked(text).errors
    line = text.splitlines()[error.line - 1]
    assert line[error.column - 1 :] == "3,"
    assert error.at("f.json").startswith(f"f.json:{error.line}:{error.column}: templates[0].env[0]")


def test_lines_and_columns_are_those_of_the_file_and_not_of_what_it_becomes() -> None:
    text = (
        '{"name": "{{ env.LONG }}", "image": 3,\n'
        ' "taskTemplate": "{{ env.LONG }}", "wrong": "{{ env.LONG }}",\n'
        ' "inputs": {{ env.LIST }}, "outputs": 5}'
    )
    report = checked(text, environment={"LONG": "x" * 99, "LIST": '[{"name": "a"}]'})
    lines = text.splitlines()
    at = {one.path: lines[one.line - 1][one.column - 1 :] for one in report.findings}
    assert at["image"] == "3,"
    assert at["wrong"].startswith('"{{ env.LONG }}",')
    assert at["outputs"] == "5}"
    assert at["inputs[0].volume_source"].startswith("{{ env.LIST }}"), "the expression it is from"


def test_no_valid_json_within_a_template() -> None:
    (error,) = checked('{"name":\n "{{ env.A }}"}', environment={"A": 'a "quoted" b'}).findings
    assert error.message.startswith("no valid JSON: ")
    assert (error.line, error.column) == (2, 3)
    assert "tojson" in error.fix
    (error,) = checked('{"name":\n "{{ env.A }}", }', environment={"A": "a"}).findings
    assert (error.line, error.column, error.fix) == (2, 17, "")


def test_where_a_template_makes_lines_the_rendered_one_is_told() -> None:
    text = '{"name": 1, {% for i in range(3) %}\n{% endfor %}\n "image": 2,, "taskTemplate": "a"}'
    (error,) = checked(text).findings
    assert (error.line, error.column) == (0, 0)
    assert "(line 5 once rendered)" in error.message


def test_a_variable_that_is_not_set_is_an_error_with_its_line() -> None:
    (error,) = checked('{"name":\n\n "{{ env.NOT }}"}').findings
    assert error.at("f.json") == "f.json:3: the environment variable NOT is not set"


def test_a_file_of_an_image_is_no_template() -> None:
    text = json.dumps(changed(CONTAINER, "description", "Reads {{ env.SECRET }} and {% x"))
    container, warnings = load_container(text, source="image", environment=None)
    assert container.description == "Reads {{ env.SECRET }} and {% x"
    assert warnings == []


def test_what_can_not_be_used_is_refused_with_all_its_errors() -> None:
    document = changed(changed(TASK, "image", 1), "name", 2)
    with pytest.raises(FileInvalid) as caught:
        load_task(json.dumps(document, indent=1), source="f.json", environment={})
    assert [line.split(": ")[0] for line in caught.value.findings] == ["f.json:2:10", "f.json:3:11"]
    assert caught.value.exit_code == 2
    task, warnings = load_task(
        json.dumps(changed(TASK, "more", 1)), source="f.json", environment={}
    )
    assert task.name == "july"
    assert warnings == ["f.json:1:366: more: the format has no such field; it is ignored"]


def test_a_key_that_is_there_twice_is_told_of_with_its_line() -> None:
    text = json.dumps(TASK)[:-1] + ',\n "name": "august"}'
    report = checked(text)
    assert isinstance(report.model, Task)
    assert report.model.name == "august"
    assert report.warnings == [
        "f.json:2:2: the key 'name' is twice in one object; the last one counts"
    ]


def test_a_million_mistakes_are_not_all_told() -> None:
    report = checked(changed(TASK, "env", [1] * 20_000))
    assert len(report.findings) == 501
    assert report.findings[-1].message == "... and 19500 findings more"
    assert report.model is None


def test_long_values_are_cut_in_messages() -> None:
    (line,) = found(changed(CONTAINER, f"{TEMPLATE}.inputs.0.scale_rule.mode", "x" * 10_000))
    assert len(line) < 300


@given(ANY_JSON, st.sampled_from([None, "pc", "task"]))
def test_no_json_value_surprises(value: Any, kind: str | None) -> None:
    report = checked(value, kind=kind, environment=None)
    assert (report.model is None) == bool(report.errors)
    assert all(one.line == 1 and one.column >= 1 for one in report.findings)


FIELDS = st.sampled_from(
    ["name", "image", "description", "templates", "taskTemplate", "inputs", "outputs", "env",
     "config", "type", "labels", "volume_source", "host_path", "input", "local_path",
     "mounted_path", "scale_rule", "scale_factor", "complexity", "mode", "target_dir",
     "target_glob", "target_regex", "resources", "limits", "requests", "memory", "command",
     "identifier", "value", "choices", "adjustable", "api_version", "namespace", "$schema",
     "env_vars", "annotations", "imagePullSecrets"]
)  # fmt: skip
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.sampled_from(["", "/a", "1Gi", "1.5n", "sum", "limit", "docker", "k8s", "(", "\ud800"])
)  # fmt: skip
LIKE_OURS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=40,
)


@given(LIKE_OURS, st.sampled_from(["pc", "task"]))
def test_nothing_that_looks_like_our_files_surprises(value: Any, kind: str) -> None:
    report = checked(json.dumps(value).replace("Infinity", "1e999"), kind=kind)
    assert (report.model is None) == bool(report.errors)
    assert all(one.line == 1 and one.column >= 1 for one in report.findings)


# Files that are none.


def why(path: Path | str) -> str:
    report = check_file(str(path), environment={})
    assert report.model is None
    (error,) = report.findings
    return error.at("f")


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    assert why(tmp_path / "absent") == "f: there is no such file"
    assert why(tmp_path) == "f: is a directory"
    (tmp_path / "empty").write_text(" \n")
    assert why(tmp_path / "empty") == "f: is empty"
    (tmp_path / "latin").write_bytes(b'{\n"name": "\xe4"}')
    assert why(tmp_path / "latin") == "f:2: is no UTF-8: invalid continuation byte"
    (tmp_path / "utf16").write_text("{}", "utf-16")
    assert why(tmp_path / "utf16").startswith("f:1: is no UTF-8")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    assert why(tmp_path / "huge") == "f: is larger than 16 MiB, as no such file is"
    assert why("/dev/zero") == "f: is larger than 16 MiB, as no such file is"
    assert why(tmp_path / "empty" / "x") == "f: can't be read: Not a directory"
    assert why("a\0b") == "f: can't be read: embedded null byte"
    (tmp_path / "loop").symlink_to("loop")
    assert why(tmp_path / "loop").startswith("f: can't be read: Too many levels")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert why(tmp_path / "s").startswith("f: can't be read: ")
    with pytest.raises(FileInvalid, match="there is no such file"):
        read_task(tmp_path / "absent", environment={})


def test_what_is_piped_is_read_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    text = "\ufeff" + json.dumps(TASK)
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(text, "utf-8"))
    writer.start()
    report = check_file(str(tmp_path / "pipe"), environment={})
    writer.join()
    assert (report.kind, report.findings) == ("task", [])
