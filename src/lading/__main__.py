"""``python -m lading`` and the command ``lading``."""

from __future__ import annotations


def main() -> None:
    """Run the command line, and end the process."""
    import gc  # noqa: PLC0415

    gc.disable()  # what imports make stays: looking for garbage in it takes a seventh of the time
    from lading.cli import run_and_exit  # noqa: PLC0415  # keeps ``import lading.__main__`` free
    from lading.settings import leave_out_plugins  # noqa: PLC0415

    leave_out_plugins()
    run_and_exit()


if __name__ == "__main__":
    main()
