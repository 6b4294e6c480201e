"""From a prompt to a picture."""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging

MOST_PIXELS = 1024
"""Of a side."""
MOST_STEPS = 100
MOST_LETTERS = 2000
SEEDS = 2**63


class BadInput(ValueError):
    """What was asked for can't be drawn; the text says why."""


@dataclass(frozen=True)
class Wish:
    """A request, checked. What is None is up to the model."""

    prompt: str
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0


def read(body: bytes) -> Wish:
    """Read a request: a JSON object of `prompt` and what else one wishes, see README.md."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The request is not JSON: {error}.") from None
    if not isinstance(asked, dict):
        raise BadInput('The request must be a JSON object with "prompt".')
    if unknown := sorted(set(asked) - set(Wish.__dataclass_fields__)):
        known = ", ".join(Wish.__dataclass_fields__)
        raise BadInput(f'"{unknown[0][:40]}" is not known; {known} are.')
    if "prompt" not in asked:
        raise BadInput('"prompt" is missing: what shall be drawn?')
    return Wish(
        prompt=_text("prompt", asked["prompt"]),
        negative_prompt=_text("negative_prompt", asked.get("negative_prompt", "")) or None,
        width=_side("width", asked.get("width")),
        height=_side("height", asked.get("height")),
        num_inference_steps=_whole(
            "num_inference_steps", asked.get("num_inference_steps"), 1, MOST_STEPS
        ),
        guidance_scale=_scale(asked.get("guidance_scale")),
        seed=_whole("seed", asked.get("seed", 0), 0, SEEDS - 1) or 0,
    )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MOST_LETTERS:
        raise BadInput(f'"{name}" must be a text of at most {MOST_LETTERS} letters.')
    return value


def _whole(name: str, value: object, least: int, most: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise BadInput(f'"{name}" must be a whole number from {least} to {most}.')
    return value


def _side(name: str, value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 64 <= value <= MOST_PIXELS or value % 8:
        raise BadInput(f'"{name}" must be a multiple of 8 from 64 to {MOST_PIXELS}.')
    return value


def _scale(value: object) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= 100:
        raise BadInput('"guidance_scale" must be a number from 0 to 100.')
    return float(value)


class Painter:
    """A model, loaded.

    `model` is a directory as `save_pretrained` writes one, or a name on the hub. A GPU is used
    where there is one, with half precision.
    """

    def __init__(self, model: str) -> None:
        logging.disable_progress_bar()
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(cores())
        self._pipeline = DiffusionPipeline.from_pretrained(
            model,
            dtype=torch.float16 if self.device == "cuda" else torch.float32,
            use_safetensors=True,  # the other files of weights can hold code
            local_files_only=Path(model).is_dir(),
        ).to(self.device)
        self._pipeline.set_progress_bar_config(disable=True)
        self._lock = Lock()

    def draw(self, wish: Wish) -> bytes:
        """Draw a picture: a PNG file. One at a time: a pipeline has a state.

        On one machine, the same wish gives the same picture.
        """
        names = ("negative_prompt", "width", "height", "num_inference_steps", "guidance_scale")
        chosen = {name: getattr(wish, name) for name in names if getattr(wish, name) is not None}
        # On the CPU with every device, so that a seed means the same noise.
        generator = torch.Generator("cpu").manual_seed(wish.seed)
        with self._lock:
            picture = self._pipeline(wish.prompt, generator=generator, **chosen).images[0]
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()


def cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the cores that this container may use: PyTorch would take the host's for them."""
    have = len(os.sched_getaffinity(0))
    try:
        quota, period = (groups / "cpu.max").read_text().split()
    except OSError:
        try:
            quota = (groups / "cpu/cpu.cfs_quota_us").read_text()
            period = (groups / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return have
    if quota == "max" or int(quota) <= 0:
        return have
    return max(1, min(have, round(int(quota) / int(period))))
