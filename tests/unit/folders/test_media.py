"""What bytes are: headers of real formats, and what is cut off or made up."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.folders.media import media_of

JPEG = (
    b"\xff\xd8"
     b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    + b"\xff\xc4" + struct.pack(">H", 4) + b"\0\0"
    + b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, 480, 640, 3) + bytes(9)
)  # fmt: skip
VP8 = b"\x9d\x01\x2a" + struct.pack("<HH", 320 | 0x4000, 240)
VP8L = b"\x2f" + struct.pack("<I", (99 << 14) | 199)


def webp(form: bytes, data: bytes) -> bytes:
    body = b"WEBP" + form + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("data", "kind", "dimensions"),
    [
        (b"GIF89a" + struct.pack("<HH", 3, 5) + b"...", "image/gif", (3, 5)),
        (JPEG, "image/jpeg", (640, 480)),
        (JPEG[:20], "image/jpeg", None),
        (webp(b"VP8 ", bytes(3) + VP8 + bytes(9)), "image/webp", (320, 240)),
        (webp(b"VP8L", VP8L + bytes(9)), "image/webp", (200, 100)),
        (
            webp(b"VP8X", bytes(4) + (999).to_bytes(3, "little") + (1).to_bytes(3, "little")),
            "image/webp",
            (1000, 2),
        ),
        (webp(b"VP8 ", b""), "image/webp", None),
        (
            b"BM" + struct.pack("<IHHIIII", 26, 0, 0, 26, 12, 7, 9),
            "image/bmp",
            (7, 9),
        ),
        (b"BM, said the Beaver, and it was only a text", "text/plain", None),
        (b"\x89PNG\r\n\x1a\n", "image/png", None),
        (b"%PDF-1.7 ...", "application/pdf", None),
        (b"PK\x03\x04...", "application/zip", None),
        (b"", "text/plain", None),
        ("žluťoučký".encode(), "text/plain", None),
        ("žluťoučký".encode()[:-1], "application/octet-stream", None),
        (b"a\x00b", "application/octet-stream", None),
    ],
)
def test_what_bytes_are(data: bytes, kind: str, dimensions: tuple[int, int] | None) -> None:
    found = media_of(data)
    assert (found.type, found.dimensions, found.size) == (kind, dimensions, len(data))
    assert str(len(data)) in str(found)


@given(st.sampled_from([JPEG, webp(b"VP8 ", bytes(3) + VP8), webp(b"VP8L", VP8L)]), st.data())
def test_what_is_cut_off_is_no_error(whole: bytes, data: st.DataObject) -> None:
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    assert media_of(cut + data.draw(st.binary(max_size=8))).type
