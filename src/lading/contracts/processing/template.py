"""The models of ``/processing-container.json``, with the names that the original gave them.

They take what the format allows, and what is meant beyond doubt where a file breaks its letter:
:mod:`lading.contracts.processing.files` warns of that. Source: contract 2,
"/processing-container.json".
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from lading.errors import InputError
from lading.units import quantity

__all__ = [
    "COMPLEXITY",
    "BaseEnv",
    "BaseTask",
    "IOBase",
    "IOMount",
    "ProcessingContainer",
    "Resources",
    "ScaleRule",
    "ScaleRuleMode",
    "ScaleRuleType",
    "TaskTemplate",
    "TaskTemplateEnv",
    "Text",
    "text_of",
]

COMPLEXITY = r"^[-+]?\d*(\.\d+)?\*?n(\*\*\d+)?$"
"""An expression in n: how memory follows the size of the input."""


def text_of(value: Any) -> Any:
    """Write a value of another type as an environment variable has it: as JSON does."""
    if isinstance(value, str):
        return value
    import json  # noqa: PLC0415

    return "" if value is None else json.dumps(value)


def _known_quantities(values: Mapping[str, Any]) -> dict[str, str]:
    """Check amounts of resources; what has another unit is refused."""
    checked = {}
    for name, value in values.items():
        try:
            quantity(value, name)
        except InputError as error:
            raise ValueError(
                f"{error.message}; {error.fix}" if error.fix else error.message
            ) from None
        checked[name] = str(value)
    return checked


Text = Annotated[str, BeforeValidator(text_of)]
Quantities = Annotated[dict[str, str | int | float], AfterValidator(_known_quantities)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class BaseEnv(_Model):
    """An environment variable."""

    name: str = Field(min_length=1, pattern=r"^[^=\x00]+$")
    value: Text = ""


class TaskTemplateEnv(BaseEnv):
    """An environment variable that a container reads."""

    type: str | None = None
    """What it holds: ``string``, ``int``, ``float``, ``boolean``; checked before a start."""
    choices: list[Text] | None = None
    """All that it may be."""
    adjustable: bool | None = None
    """Whether users are meant to change it."""
    description: str | None = None


class Resources(_Model):
    """What a container is promised (requests) and may use (limits), as Kubernetes quantities."""

    limits: Quantities | None = None
    requests: Quantities | None = None


class ScaleRuleType(enum.StrEnum):
    """What a scale rule raises."""

    limit = "limit"
    request = "request"


class ScaleRuleMode(enum.StrEnum):
    """Which size counts as that of the input."""

    sum = "sum"
    max_file_size = "max_file_size"
    max_item_sum = "max_item_sum"


class ScaleRule(_Model):
    """How memory follows the size of an input channel."""

    complexity: str | None = Field(default=None, pattern=COMPLEXITY)
    """An expression in n, the size in bytes: ``1.5n``, ``10*n``, ``n**2``."""
    scale_factor: float | None = Field(default=None, ge=0)
    """What the size is multiplied by; older than `complexity`."""
    type: ScaleRuleType = ScaleRuleType.limit
    mode: ScaleRuleMode = ScaleRuleMode.sum
    target_dir: Annotated[str, BeforeValidator(lambda value: value or "")] = ""
    """Below the channel, where to look."""
    target_glob: Annotated[str, BeforeValidator(lambda value: value or "*")] = "*"
    """Which files count, matched at any depth."""
    target_regex: Annotated[str, BeforeValidator(lambda value: value or ".*")] = ".*"
    """Which of them, by their whole path relative to `target_dir`."""

    @field_validator("target_regex")
    @classmethod
    def _is_regex(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value

    @field_validator("target_dir", "target_glob")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/"):
            raise ValueError(f"{value!r} leads out of the channel")
        return value

    @model_validator(mode="after")
    def _has_a_factor(self) -> ScaleRule:
        if self.complexity is None and self.scale_factor is None:
            raise ValueError("needs a complexity, as '1.5n', or a scale_factor, as 1.5")
        return self


class IOBase(_Model):
    """A channel."""

    name: str = Field(min_length=1)
    scale_rule: ScaleRule | None = None
    description: str | None = None


class IOMount(IOBase):
    """A channel of a template: where the container finds it."""

    mounted_path: str = Field(pattern=r"^/")


class BaseTask(_Model):
    """What templates and tasks have in common."""

    command: list[Text] | None = None
    resources: Resources | None = None


class TaskTemplate(BaseTask):
    """One use of a container."""

    identifier: str = Field(min_length=1)
    description: str = ""
    inputs: list[IOMount] = Field(default_factory=list)
    outputs: list[IOMount] = Field(default_factory=list)
    env: list[TaskTemplateEnv] = Field(default_factory=list)


class ProcessingContainer(_Model):
    """What a container offers."""

    name: str
    description: str = ""
    api_version: Literal[1] = 1
    templates: list[TaskTemplate]
