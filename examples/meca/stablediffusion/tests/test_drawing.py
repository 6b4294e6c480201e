"""What is asked for, and what is drawn: by a real pipeline, tiny and random.

`pytest` in this folder; PyTorch and requirements.txt must be installed, and nothing is downloaded.
"""

import json
import struct
import zlib
from pathlib import Path

import drawing
import pytest
from drawing import BadInput, Painter, Wish, read
from get_model import get_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    get_model("tiny", folder)
    return folder


@pytest.fixture(scope="session")
def painter(model: Path) -> Painter:
    return Painter(str(model))


def pixels(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and the raw rows, filters and all."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data = 8, b""
    width = height = 0
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, chunk = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", chunk[:8])
        elif kind == b"IDAT":
            data += chunk
        at += 12 + length
    return width, height, zlib.decompress(data)


SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}


def test_a_picture(painter: Painter) -> None:
    width, height, rows = pixels(painter.draw(Wish("a lighthouse", **{**SMALL, "width": 128})))
    assert (width, height) == (128, 64)
    assert len(rows) == 64 * (1 + 3 * 128)
    assert len(set(rows)) > 100  # not one colour, as of numbers that are none


def test_prompt_and_seed_make_the_picture(painter: Painter) -> None:
    first = painter.draw(Wish("a lighthouse", **SMALL, seed=1))
    assert painter.draw(Wish("a lighthouse", **SMALL, seed=1)) == first
    others = [
        painter.draw(Wish("a lighthouse", **SMALL, seed=2)),
        painter.draw(Wish("a train", **SMALL, seed=1)),
        painter.draw(Wish("a lighthouse", **SMALL, seed=1, guidance_scale=1)),
        painter.draw(Wish("a lighthouse", **SMALL, seed=1, negative_prompt="a train")),
    ]
    assert len({first, *others}) == 5


def test_what_is_not_wished_for_is_up_to_the_model(painter: Painter) -> None:
    width, height, _ = pixels(painter.draw(Wish("x", num_inference_steps=1)))
    assert (width, height) == (256, 256)  # 32 by 32 of the network, eight times as large


def test_a_prompt_that_is_too_long_for_the_model(painter: Painter) -> None:
    painter.draw(Wish("many words " * 150, **SMALL))


def test_a_model_in_a_directory(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "model"
    get_model(str(model), link)
    assert link.resolve() == model
    Painter(str(link)).draw(Wish("x", **SMALL))


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"model_index\.json"):
        get_model(str(tmp_path / "empty"), tmp_path / "model")


def test_weights_that_can_hold_code_are_not_loaded(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pickled"
    for path in model.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(model)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(OSError, match="safetensors"):
        Painter(str(copy))


def test_a_request() -> None:
    wish = read(b'{"prompt": "x", "width": 512, "seed": 3, "guidance_scale": 7}')
    assert wish == Wish("x", width=512, seed=3, guidance_scale=7.0)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, '"prompt" is missing'),
        ([], "must be a JSON object"),
        ({"prompt": 1}, '"prompt" must be a text of at most 2000 letters'),
        ({"prompt": "x" * 2001}, '"prompt" must be a text of at most 2000 letters'),
        ({"prompt": "x", "negative_prompt": []}, '"negative_prompt" must be a text'),
        ({"prompt": "x", "width": 100}, '"width" must be a multiple of 8 from 64 to 1024'),
        ({"prompt": "x", "height": 1032}, '"height" must be a multiple of 8'),
        ({"prompt": "x", "width": True}, '"width" must be'),
        ({"prompt": "x", "num_inference_steps": 101}, "a whole number from 1 to 100"),
        ({"prompt": "x", "num_inference_steps": 2.0}, "a whole number from 1 to 100"),
        ({"prompt": "x", "guidance_scale": float("nan")}, "a number from 0 to 100"),
        ({"prompt": "x", "guidance_scale": "7"}, "a number from 0 to 100"),
        ({"prompt": "x", "seed": -1}, '"seed" must be a whole number from 0 to'),
        ({"prompt": "x", "seed": 2**63}, '"seed" must be a whole number from 0 to'),
        ({"prompt": "x", "steps": 3}, '"steps" is not known; prompt, negative_prompt, width'),
    ],
)
def test_bad_input(asked: object, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(json.dumps(asked).encode())
    assert says in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_no_json(body: bytes) -> None:
    with pytest.raises(BadInput, match="not JSON"):
        read(body)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "350000 100000"}, 4),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({}, 8),
    ],
)
def test_cores(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing.os, "sched_getaffinity", lambda _pid: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert drawing.cores(tmp_path) == expected
