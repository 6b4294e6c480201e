"""What a run used, against limits and rules: the figures, and what is said to be unknown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lading.contracts.processing.channels import channels_of, measured
from lading.contracts.processing.measure.measuring import (
    InputSize,
    Measurement,
    input_sizes,
    measure,
)
from lading.contracts.processing.planning import Circumstances, Plan
from lading.contracts.processing.runner import Outcome
from lading.contracts.processing.scaling import needs
from lading.contracts.processing.task import TaskInstance
from lading.contracts.processing.template import Resources, ScaleRule
from lading.engine import ContainerSpec, Exit, ImageInfo, Limits
from lading.errors import ExitedEarly
from lading.run.usage import Usage
from lading.units import MIB


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two items, of 3 and 5 MiB; the largest file has 4 MiB; 1 MiB belongs to no item."""
    folder = tmp_path / "scans"
    for name, size in (("a/1", 2), ("a/2", 1), ("b/deep/1", 4), ("b/2", 1), ("c", 1)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size * MIB)
    return folder


def outcome(
    scans: Path,
    peak: float,
    rule: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
    *,
    killed: bool = False,
    code: int = 0,
    seconds: float = 2.0,
) -> Outcome:
    """What a run with one input has come to; `peak` in MiB."""
    channel = {
        "name": "scans",
        "mounted_path": "/in",
        "volume_source": {"host_path": str(scans)},
        "scale_rule": rule,
    }
    instance = TaskInstance.model_validate(
        {
            "name": "segment",
            "image": "segment:1",
            "taskTemplate": "segment",
            "identifier": "segment",
            "description": "",
            "env": [],
            "outputs": [],
            "inputs": [channel],
            "resources": resources,
        }
    )
    channels = channels_of(instance)
    rules = [(channels[0], ScaleRule.model_validate(rule))] if rule else []
    declared = Resources.model_validate(resources) if resources else None
    needed = needs(declared, rules)
    image = ImageInfo("sha256:0", ("segment:1",), (), 1, None, {}, (), (), {}, "", (), "amd64")
    began = datetime(2026, 1, 31, tzinfo=UTC)
    ended = began + timedelta(seconds=seconds)
    spec = ContainerSpec(image=image.id, limits=Limits(memory=needed.memory))
    return Outcome(
        plan=Plan(instance, image, channels, needed, spec, Circumstances()),
        container="lading-1",
        container_id="1",
        exit=Exit(137 if killed else code, killed, began, ended),
        usage=Usage(0, round(peak * MIB), 3.0),
        channels=measured(channels),
        error=ExitedEarly("it failed", code=code, logs="", fix="") if code else None,
    )


def suggested(it: Measurement) -> dict[str, dict[str, Any]]:
    return {one.field: one.value for one in it.suggestions}


def test_sizes_are_counted_as_every_mode_counts_them(scans: Path) -> None:
    it = measure(outcome(scans, 30))
    assert it.inputs == (InputSize("scans", 9 * MIB, 5, 4 * MIB, 5 * MIB),)
    assert input_sizes([]) == ()


def test_a_rule_that_asks_for_too_little(scans: Path) -> None:
    rule = {"scale_factor": 2, "mode": "max_item_sum", "target_glob": "*"}
    declared = {"limits": {"memory": "64Mi", "cpu": "2"}, "requests": {"memory": "64Mi"}}
    it = measure(outcome(scans, 30, rule, declared))
    assert (it.memory_peak, it.limit, it.declared_limit) == (30 * MIB, 64 * MIB, 64 * MIB)
    assert (it.headroom, it.headroom_share) == (34 * MIB, 0.5312)
    assert (it.declared_request, it.request) == (64 * MIB, 64 * MIB)
    assert (it.cpu_seconds, it.seconds, it.average_cores) == (3.0, 2.0, 1.5)
    (check,) = it.rules
    assert (check.size, check.requirement, check.with_margin) == (5 * MIB, 10 * MIB, 11 * MIB)
    assert (check.covers, check.covers_with_margin, check.spare) == (False, False, -19 * MIB)
    assert check.expression == "2*n"
    assert suggested(it) == {
        "scale_rule": {"scale_factor": 6, "type": "limit", "mode": "max_item_sum"},
        # The request is never above the limit.
        "resources": {"limits": {"memory": "33Mi", "cpu": "2"}, "requests": {"memory": "33Mi"}},
    }
    assert any("lading profile" in note for note in it.notes)
    assert any("9 MiB of the peak may be page cache" in note for note in it.notes)


def test_a_rule_that_its_margin_saves(scans: Path) -> None:
    it = measure(outcome(scans, 28, {"scale_factor": 3}))
    (check,) = it.rules
    assert (it.declared_limit, it.limit) == (None, check.with_margin)
    assert (check.covers, check.covers_with_margin) == (False, True)
    assert check.spare == check.with_margin - 28 * MIB


def test_what_else_a_rule_says_stays(scans: Path) -> None:
    rule = {"complexity": "2n", "target_dir": "b", "target_regex": r"\d"}
    it = measure(outcome(scans, 30, rule, {"limits": {"memory": "1Gi"}}))
    assert suggested(it)["scale_rule"] == {
        "complexity": "30*n",  # 1 MiB: of what is in b, only the file that is named by a digit
        "type": "limit",
        "mode": "sum",
        "target_dir": "b",
        "target_regex": r"\d",
    }


def test_a_rule_with_a_power_keeps_it(scans: Path) -> None:
    it = measure(outcome(scans, 30, {"complexity": "n**2"}, {"limits": {"memory": "1Gi"}}))
    assert suggested(it)["scale_rule"]["complexity"] == "0.00000036*n**2"


@pytest.mark.parametrize("peak", [64, 63.5])
def test_a_peak_at_the_limit_is_no_measurement(scans: Path, peak: float) -> None:
    it = measure(outcome(scans, peak, {"scale_factor": 2}, {"limits": {"memory": "64Mi"}}))
    assert (it.squeezed, it.out_of_memory) == (True, False)
    assert suggested(it)["resources"]["limits"]["memory"] == "128Mi"
    assert "came up to its limit" in it.notes[0]
    ruled = measure(outcome(scans, 69.3, {"scale_factor": 7}, {"limits": {"memory": "64Mi"}}))
    (check,) = ruled.rules
    assert ruled.limit == check.with_margin
    assert (check.covers, check.covers_with_margin, check.spare) == (False, None, None)


def test_who_was_killed_is_advised_to_double(scans: Path) -> None:
    limits = {"limits": {"memory": "64Mi"}}
    it = measure(outcome(scans, 64, {"scale_factor": 2}, limits, killed=True))
    assert (it.squeezed, it.out_of_memory, it.headroom) == (True, True, 0)
    assert suggested(it)["resources"]["limits"]["memory"] == "128Mi"
    factor = suggested(it)["scale_rule"]["scale_factor"]
    assert 128 * MIB <= 1.1 * factor * 9 * MIB < 1.1 * 128 * MIB
    (check,) = it.rules
    assert (check.covers, check.covers_with_margin, check.spare) == (
        False,
        False,
        check.with_margin - 64 * MIB,
    )
    assert "not known" in it.notes[0]


def test_who_was_killed_at_the_limit_of_its_rule_needs_more(scans: Path) -> None:
    rule = {"scale_factor": 2}
    limit = outcome(scans, 1, rule).plan.needs.memory
    assert limit is not None
    it = measure(outcome(scans, limit / MIB, rule, killed=True))
    (check,) = it.rules
    assert (check.covers, check.covers_with_margin, check.spare) == (False, False, None)


def test_no_factor_fits_nothing(scans: Path, tmp_path: Path) -> None:
    it = measure(outcome(scans, 30, {"scale_factor": 2, "target_glob": "*.dcm"}))
    assert suggested(it).keys() == {"resources"}
    assert "n is 0" in it.notes[-1]
    assert it.rules[0].size == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    assert suggested(measure(outcome(empty, 30))).keys() == {"resources"}


def test_a_base_is_not_taken_for_a_factor(scans: Path) -> None:
    it = measure(outcome(scans, 2000))
    assert suggested(it) == {"resources": {"limits": {"memory": "2200Mi"}}}
    assert "likely a base" in it.notes[-1]


def test_without_a_rule_one_is_suggested_for_the_only_input(scans: Path) -> None:
    it = measure(outcome(scans, 31))
    expected = {"scale_factor": 3.5, "type": "limit", "mode": "sum"}
    assert suggested(it)["scale_rule"] == expected
    assert it.rules == ()


def test_who_failed_may_need_more(scans: Path) -> None:
    it = measure(outcome(scans, 30, code=3))
    assert any("failed" in note for note in it.notes)


def test_what_nobody_saw_is_not_guessed(scans: Path) -> None:
    it = measure(outcome(scans, 0, {"scale_factor": 2}))
    assert (it.memory_peak, it.headroom, it.suggestions) == (None, None, ())
    assert (it.rules[0].covers, it.rules[0].spare) == (None, None)


def test_an_average_of_a_moment_says_nothing(scans: Path) -> None:
    assert measure(outcome(scans, 30, seconds=0.05)).average_cores is None


def test_it_is_json_with_these_names(scans: Path) -> None:
    told = json.loads(json.dumps(measure(outcome(scans, 30, {"scale_factor": 2})).as_object()))
    assert list(told) == [
        "memory_peak", "cpu_seconds", "seconds", "average_cores", "declared_limit",
        "declared_request", "limit", "request", "headroom", "headroom_share", "out_of_memory",
        "squeezed", "inputs", "rules", "suggestions", "notes",
    ]  # fmt: skip
    assert list(told["inputs"][0]) == ["channel", "bytes", "files", "largest_file", "largest_item"]
    assert list(told["rules"][0]) == [
        "channel", "type", "mode", "expression", "size", "requirement", "with_margin", "covers",
        "covers_with_margin", "spare",
    ]  # fmt: skip
    assert [list(one) for one in told["suggestions"]] == [["field", "channel", "value", "why"]] * 2
