"""``python -m lading`` and the command ``lading``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from lading.cli import app  # noqa: PLC0415  # keeps ``import lading.__main__`` free

    app()


if __name__ == "__main__":
    main()
