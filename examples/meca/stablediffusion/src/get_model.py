"""Puts a model where the task finds it; the Dockerfile runs it: `get_model.py MODEL FOLDER`."""

import sys
from pathlib import Path

from diffusers import DiffusionPipeline

TINY = "tiny"


def get_model(model: str, folder: Path) -> None:
    """Make `folder` the model's.

    `model` is `tiny`, a directory as `save_pretrained` writes one, or a name on the hub. Of the hub
    only files of weights are taken, none that can hold code: `use_safetensors`.
    """
    if model == TINY:
        from tiny import save_tiny

        save_tiny(folder)
    elif Path(model).is_dir():
        folder.symlink_to(Path(model).resolve())
    else:
        files = folder.with_name(
            "hub"
        )  # not in the home of whoever builds: the task can't read that
        folder.symlink_to(DiffusionPipeline.download(model, cache_dir=files, use_safetensors=True))
    for path in folder.resolve().rglob("*"):
        path.chmod(path.stat().st_mode | 0o444)  # safetensors writes files that only root can read
    # Whoever builds learns of a model that can't be used, and not who runs it.
    DiffusionPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)


if __name__ == "__main__":
    try:
        get_model(sys.argv[1], Path(sys.argv[2]))
    except OSError as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        sys.exit(f"the model {sys.argv[1]} can't be had: {error}{cause}")
