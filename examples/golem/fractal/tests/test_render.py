"""The computing alone."""

import struct
import zlib

import pytest

from fractal.render import Picture, Tile, png, render, tiles


@pytest.mark.parametrize("wanted", [1, 2, 5, 7, 24, 1000])
def test_tiles_cover_the_picture_once(wanted):
    picture = Picture(width=41, height=23, tiles=wanted)
    found = tiles(picture, at_most=30)
    assert len(found) <= min(wanted, 30)
    covered = [
        (tile.left + x, tile.top + y)
        for tile in found
        for y in range(tile.height)
        for x in range(tile.width)
    ]
    assert sorted(covered) == [(x, y) for x in range(41) for y in range(23)]


def test_tiles_make_the_picture_that_one_process_makes():
    picture = Picture(width=40, height=30, tiles=9, iterations=40)
    parts = [(tile, render(picture, tile)) for tile in reversed(tiles(picture, 9))]
    whole = Tile(0, 0, 40, 30)
    file = b"".join(png(picture, parts))
    assert file == b"".join(png(picture, [(whole, render(picture, whole))]))
    # And it is a PNG file: its size, and as many bytes a row as it says.
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", file[16:24]) == (40, 30)
    packed, at = b"", 8
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        kind, content = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        assert file[at + 8 + length : at + 12 + length] == struct.pack(
            ">I", zlib.crc32(kind + content)
        )
        packed += content if kind == b"IDAT" else b""
        at += 12 + length
    assert len(zlib.decompress(packed)) == 30 * (1 + 3 * 40)


def test_a_julia_set_is_another_picture():
    tile = Tile(0, 0, 20, 20)
    julia = Picture(width=20, height=20, julia=(-0.8, 0.156), center=(0.0, 0.0))
    assert render(julia, tile) != render(Picture(width=20, height=20), tile)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"widht": 10}, "unknown: widht"),
        ({"width": 0}, "width: 0"),
        ({"width": 1.5}, "width: 1.5"),
        ({"tiles": True}, "tiles: True"),
        ({"scale": "big"}, "scale: 'big'"),
        ({"center": [1]}, "center"),
        ({"julia": [1, "x"]}, "julia"),
        ({"center": [float("inf"), 0]}, "not finite"),
    ],
)
def test_parameters_without_sense_are_refused_with_words(params, says):
    with pytest.raises(ValueError, match=says):
        Picture.of(params)
