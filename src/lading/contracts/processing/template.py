"""The models of ``/processing-container.json``, with the names that the original gave them.

They take what the format allows, and what is meant beyond doubt where a file breaks its letter:
:mod:`lading.contracts.processing.reading.deviations` warns of that. Source: contract 2,
"/processing-container.json"; the order of the fields is the original's.
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

from lading.contracts.processing.reading.letter import LARGEST_FACTOR
from lading.contracts.processing.reading.values import as_text
from lading.errors import InputError
from lading.units import quantity

__all__ = [
    "COMPLEXITY",
    "ApiVersion",
    "BaseEnv",
    "BaseTask",
    "IOBase",
    "IOMount",
    "Many",
    "ProcessingContainer",
    "Resources",
    "ScaleRule",
    "ScaleRuleMode",
    "ScaleRuleType",
    "TaskTemplate",
    "TaskTemplateEnv",
    "Text",
]

COMPLEXITY = r"^[-+]?\d*(\.\d+)?\*?n(\*\*\d+)?$"
"""An expression in n: how memory follows the size of the input."""


def _one(value: Any) -> Any:
    """Read ``"1"`` as the number."""
    return 1 if value in ("1", 1) else value


def _amount(value: Any) -> str | None:
    """Check an amount of a resource; one in another unit is refused."""
    if value is None:
        return None
    try:
        quantity(value)
    except InputError as error:
        raise ValueError(f"{error.reason}; {error.fix}") from None
    return str(value)


def _said(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


Text = Annotated[str, BeforeValidator(as_text)]
"""A text; whatever else stands there is written as one."""
Quantities = Annotated[dict[str, Annotated[Any, AfterValidator(_amount)]], AfterValidator(_said)]
ApiVersion = Annotated[Literal[1], BeforeValidator(_one)]
Many = BeforeValidator(lambda value: [] if value is None else value)
"""Takes null for an empty list."""


class _Model(BaseModel):
    # A model is built when it is first used: most uses are of one file.
    model_config = ConfigDict(extra="ignore", defer_build=True)


class BaseEnv(_Model):
    """An environment variable."""

    name: str = Field(min_length=1, pattern=r"^[^=\x00]+$", description="The name of the variable.")
    value: Text = Field(default="", description="Its value; always a text.")


class TaskTemplateEnv(BaseEnv):
    """An environment variable that a container reads."""

    type: str | None = Field(
        default=None,
        description="What it holds: string, int, float or boolean. Checked before a start.",
    )
    choices: list[Text] | None = Field(
        default=None, description="All values that it may have. Checked before a start."
    )
    adjustable: bool | None = Field(
        default=None, description="Whether users are meant to change it."
    )
    description: str | None = Field(default=None, description="What it does, for users.")


class Resources(_Model):
    """What a container may use (limits) and is promised (requests), as Kubernetes quantities."""

    # The first model that is built has pydantic look for plugins on the disk: when this module is
    # imported, and not later on an event loop.
    model_config = ConfigDict(defer_build=False)

    limits: Quantities | None = Field(
        default=None, description='At most so much: {"memory": "2Gi", "cpu": "1.5"}.'
    )
    requests: Quantities | None = Field(
        default=None, description='At least so much: {"memory": "512Mi", "cpu": "500m"}.'
    )


class ScaleRuleType(enum.StrEnum):
    """What a scale rule raises: the memory limit, or the memory request."""

    limit = "limit"
    request = "request"


class ScaleRuleMode(enum.StrEnum):
    """Which size counts: of all files, of the largest, or of the largest item's files."""

    sum = "sum"
    max_file_size = "max_file_size"
    max_item_sum = "max_item_sum"


class ScaleRule(_Model):
    """How memory follows the size of an input channel."""

    scale_factor: int | float | None = Field(
        default=None,
        ge=-LARGEST_FACTOR,
        le=LARGEST_FACTOR,
        description="Bytes of memory for each byte of the input, such as 1.5.",
    )
    type: ScaleRuleType = Field(
        default=ScaleRuleType.limit,
        description="What it raises: the memory limit, or the memory request.",
    )
    mode: ScaleRuleMode = Field(
        default=ScaleRuleMode.sum,
        description="Which size counts: of all files, of the largest, or of the largest "
        "sub-directory (item).",
    )
    target_dir: Text = Field(
        default="", description="Where to look, below the channel (of each item: below that)."
    )
    target_regex: Annotated[str, BeforeValidator(lambda value: value or ".*")] = Field(
        default=".*",
        description="Which files count: a regular expression for the whole path below target_dir.",
    )
    target_glob: Annotated[str, BeforeValidator(lambda value: value or "*")] = Field(
        default="*", description="Which files count: a pattern, matched at any depth."
    )
    complexity: str | None = Field(
        default=None,
        pattern=COMPLEXITY,
        max_length=64,
        description="In place of scale_factor: an expression in n, the size in bytes, such as "
        "1.5n, 10*n or n**2.",
    )

    @field_validator("target_regex")
    @classmethod
    def _is_regex(cls, value: str) -> str:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value

    @field_validator("target_dir", "target_glob")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/") or "\0" in value:
            raise ValueError(f"{value!r} leads out of the channel")
        return value

    @model_validator(mode="after")
    def _has_a_factor(self) -> ScaleRule:
        if self.complexity is None and self.scale_factor is None:
            raise ValueError("needs a scale_factor, as 1.5, or a complexity, as '1.5n'")
        return self


class IOBase(_Model):
    """A channel."""

    name: str = Field(min_length=1, description="The name of the channel.")
    scale_rule: ScaleRule | None = Field(
        default=None, description="How memory follows the size of what is in the channel."
    )


class IOMount(IOBase):
    """A channel of a template: where the container finds it."""

    mounted_path: str = Field(
        pattern=r"^/[^\x00]*$", description="Where the container finds it: an absolute path."
    )
    description: str | None = Field(
        default=None, description="What the container expects there, or leaves there."
    )


class BaseTask(_Model):
    """What templates and tasks have in common."""

    command: list[Text] | None = Field(
        default=None, description="What is run, in place of the image's entrypoint."
    )
    resources: Resources | None = Field(
        default=None, description="What it may use and is promised of memory, cores, GPUs."
    )


class TaskTemplate(BaseTask):
    """One use of a container."""

    identifier: str = Field(min_length=1, description="By which name tasks ask for it.")
    description: Text = Field(
        default="", description="What it does with its inputs, and how the results look."
    )
    inputs: Annotated[list[IOMount], Many] = Field(
        default_factory=list, description="Its input channels; mounted read-only."
    )
    outputs: Annotated[list[IOMount], Many] = Field(
        default_factory=list, description="Its output channels."
    )
    env: Annotated[list[TaskTemplateEnv], Many] = Field(
        default_factory=list, description="The environment variables that it reads."
    )


class ProcessingContainer(_Model):
    """What a container offers: the file /processing-container.json of its image."""

    name: str = Field(description="The name of the container.")
    description: Text = Field(default="", description="What the container is for.")
    api_version: ApiVersion = Field(default=1, description="The version of this format: 1.")
    templates: list[TaskTemplate] = Field(description="The uses of the container.")
