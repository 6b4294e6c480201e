"""The picture itself: how a point gets its colour, a tile its rows, and tiles one image.

Nothing here knows of containers or tasks: ``python render.py PARAMS.json IMAGE.png`` renders a
picture in one process.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NUMBERS = ("scale", "iterations", "width", "height", "tiles")


@dataclass(frozen=True)
class Picture:
    """What a user may ask for.

    Parameters
    ----------
    width, height : int
        In pixels.
    tiles : int
        Into how many parts it is cut.
    center : tuple of float
        The point in the middle.
    scale : float
        What the height of the picture is in the plane; smaller is deeper.
    iterations : int
        After how many steps a point counts as one of the set.
    julia : tuple of float, or None
        The constant of a Julia set; None: the Mandelbrot set.
    """

    width: int = 640
    height: int = 480
    tiles: int = 24
    center: tuple[float, float] = (-0.75, 0.0)
    scale: float = 2.5
    iterations: int = 200
    julia: tuple[float, float] | None = None

    @classmethod
    def of(cls, params: dict[str, Any]) -> Picture:
        """Read parameters; raises ValueError, with words for whoever wrote them."""
        if unknown := params.keys() - cls.__dataclass_fields__.keys():
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        values = dict(params)
        for name in _NUMBERS:
            value = values.get(name, 1)
            kind = (int, float) if name == "scale" else int
            if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
                raise ValueError(f"{name}: {value!r} is no number above 0")
        for name in ("center", "julia"):
            if values.get(name) is not None:
                values[name] = _point(name, values[name])
        return cls(**values)


def _point(name: str, value: Any) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {value!r} is not a pair of numbers") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"{name}: {value!r} is not finite")
    return x, y


@dataclass(frozen=True)
class Tile:
    """A part of a picture: a rectangle of pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> int:
        """How many bytes its pixels take: red, green and blue."""
        return 3 * self.width * self.height


def tiles(picture: Picture, at_most: int) -> list[Tile]:
    """Cut a picture into a grid of tiles, as many as it asks for but no more than `at_most`."""
    wanted = max(1, min(picture.tiles, at_most))
    columns = max(1, min(round(math.sqrt(wanted * picture.width / picture.height)), wanted))
    columns = min(columns, picture.width)
    rows = min(max(1, wanted // columns), picture.height)
    xs = [picture.width * number // columns for number in range(columns + 1)]
    ys = [picture.height * number // rows for number in range(rows + 1)]
    return [
        Tile(left, top, right - left, bottom - top)
        for top, bottom in itertools.pairwise(ys)
        for left, right in itertools.pairwise(xs)
    ]


def row(picture: Picture, tile: Tile, number: int) -> bytes:
    """Render one row of a tile.

    Only additions and multiplications of Python's floats, each rounded for itself: every machine
    gets the same bytes, so a verifier may compare them.
    """
    step = picture.scale / picture.height
    y = picture.center[1] - (tile.top + number - (picture.height - 1) / 2) * step
    colours = palette(picture.iterations)
    pixels = bytearray()
    for column in range(tile.left, tile.left + tile.width):
        x = picture.center[0] + (column - (picture.width - 1) / 2) * step
        pixels += colours[_steps(picture, x, y)]
    return bytes(pixels)


def _steps(picture: Picture, x: float, y: float) -> int:
    if picture.julia is None:
        a, b = x, y
    else:
        a, b = picture.julia
    for step in range(picture.iterations):
        xx, yy = x * x, y * y
        if xx + yy > 4.0:
            return step
        x, y = xx - yy + a, 2.0 * x * y + b
    return picture.iterations


def render(picture: Picture, tile: Tile) -> bytes:
    """Render a tile: its rows from the top, three bytes a pixel."""
    return b"".join(row(picture, tile, number) for number in range(tile.height))


_PACES = ((11, 230), (7, 200), (5, 120))  # of red, green and blue
_PALETTES: dict[int, list[bytes]] = {}


def palette(iterations: int) -> list[bytes]:
    """Make a colour for each number of steps; the set itself is black."""
    if iterations not in _PALETTES:
        # Up and down, each colour at its own pace.
        colours = [
            bytes(abs((step * pace + begin) % 510 - 255) for pace, begin in _PACES)
            for step in range(iterations)
        ]
        _PALETTES[iterations] = [*colours, bytes(3)]
    return _PALETTES[iterations]


def png(picture: Picture, parts: list[tuple[Tile, bytes]]) -> Iterator[bytes]:
    """Put tiles together to a PNG file; yields what is to be written.

    A row of tiles is held at a time, and no more.
    """
    yield b"\x89PNG\r\n\x1a\n"
    yield _chunk(b"IHDR", struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0))
    packer = zlib.compressobj(9)
    for top in sorted({tile.top for tile, _ in parts}):
        beside = sorted((part for part in parts if part[0].top == top), key=lambda p: p[0].left)
        for number in range(beside[0][0].height):
            line = b"".join(
                pixels[3 * tile.width * number : 3 * tile.width * (number + 1)]
                for tile, pixels in beside
            )
            if packed := packer.compress(b"\0" + line):
                yield _chunk(b"IDAT", packed)
    yield _chunk(b"IDAT", packer.flush())
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def main(params: str, image: str) -> None:
    """Render a picture in one process."""
    picture = Picture.of(json.loads(Path(params).read_text("utf-8")))
    whole = Tile(0, 0, picture.width, picture.height)
    Path(image).write_bytes(b"".join(png(picture, [(whole, render(picture, whole))])))


if __name__ == "__main__":
    main(*sys.argv[1:])
