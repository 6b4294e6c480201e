"""What bytes are, as far as their first ones tell: the kind of a file, and an image's dimensions.

Sources: the specifications of PNG (ISO/IEC 15948), GIF89a, JPEG (ITU-T T.81), WebP (RFC 9649) and
BMP, each for its header only. Nothing is decoded, so a broken picture has a kind, too.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Media", "media_of"]

BINARY, TEXT = "application/octet-stream", "text/plain"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBPVP8", "image/webp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftypavif", "image/avif"),
    (8, b"WAVE", "audio/wav"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\x93NUMPY", "application/x-npy"),
    (0, b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
)

_NO_FRAME = {0xC4, 0xC8, 0xCC}
"""Markers of JPEG among those of frames that begin none."""


@dataclass(frozen=True, slots=True)
class Media:
    """The kind of some bytes.

    Parameters
    ----------
    type : str
        A media type; ``text/plain`` for all that is UTF-8 and has no signature, and
        ``application/octet-stream`` for the rest.
    size : int
        Bytes.
    dimensions : tuple of int or None
        Width and height of an image in pixels, where its header says them.
    """

    type: str
    size: int
    dimensions: tuple[int, int] | None = None

    @property
    def is_text(self) -> bool:
        """Whether people can read it as it is."""
        return self.type == TEXT

    def __str__(self) -> str:
        if self.is_text:
            return f"text of {self.size} bytes"
        if self.type == BINARY:
            return f"{self.size} bytes of no known type"
        pixels = "" if self.dimensions is None else "{}x{} pixels, ".format(*self.dimensions)
        return f"{self.type} ({pixels}{self.size} bytes)"


def media_of(data: bytes) -> Media:
    """Tell what bytes are by what they begin with.

    Parameters
    ----------
    data : bytes
    """
    for at, magic, kind in _MAGIC:
        if data.startswith(magic, at):
            return Media(kind, len(data), _dimensions(kind, data))
    if data.startswith(b"BM") and len(data) >= 26 and _int(data, 2, 4) == len(data):
        return Media("image/bmp", len(data), (_int(data, 18, 4), _int(data, 22, 4)))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return Media(BINARY, len(data))
    return Media(BINARY if "\x00" in text else TEXT, len(data))


def _int(data: bytes, at: int, size: int, order: str = "little") -> int:
    return int.from_bytes(data[at : at + size], "big" if order == "big" else "little")


def _dimensions(kind: str, data: bytes) -> tuple[int, int] | None:
    if kind == "image/png" and data[12:16] == b"IHDR" and len(data) >= 24:
        return _int(data, 16, 4, "big"), _int(data, 20, 4, "big")
    if kind == "image/gif" and len(data) >= 10:
        return _int(data, 6, 2), _int(data, 8, 2)
    if kind == "image/webp":
        return _webp(data)
    if kind == "image/jpeg":
        return _jpeg(data)
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    if len(data) < 30:
        return None
    form = data[12:16]
    if form == b"VP8X":
        return _int(data, 24, 3) + 1, _int(data, 27, 3) + 1
    if form == b"VP8L":
        bits = _int(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _int(data, 26, 2) & 0x3FFF, _int(data, 28, 2) & 0x3FFF


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Walk the segments up to the frame's header."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return _int(data, at + 7, 2, "big"), _int(data, at + 5, 2, "big")
        at += 2 + max(_int(data, at + 2, 2, "big"), 2)
    return None
