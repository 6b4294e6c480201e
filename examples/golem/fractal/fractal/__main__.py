"""What the container runs: ``python -m fractal requestor|provider PORT``."""

import asyncio
import sys
from pathlib import Path

from lading.contracts.golem import constants, entrypoint


def main() -> None:
    """Serve one of the two sides."""
    # Each container loads the side it is: a provider starts anew for every subtask.
    if sys.argv[1:2] == ["requestor"]:
        from fractal.requestor import FractalRequestor

        handler = {"requestor_handler": FractalRequestor()}
    else:
        from fractal.provider import FractalProvider

        handler = {"provider_handler": FractalProvider()}
    asyncio.run(entrypoint.main(Path("/", constants.WORK_DIR), sys.argv[1:], **handler))


if __name__ == "__main__":
    main()
