"""The HTTP side: statuses, and sentences."""

from pathlib import Path

import pytest
from drawing import Painter
from flask.testing import FlaskClient
from get_model import get_model
from server import make_app

FOLDER = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    model = tmp_path_factory.mktemp("models") / "model"
    get_model("tiny", model)
    return make_app(Painter(str(model))).test_client()


def test_the_example(client: FlaskClient) -> None:
    reply = client.post("/", data=(FOLDER / "example_input.bin").read_bytes())
    assert (reply.status_code, reply.mimetype) == (200, "image/png")
    # The same size; other pixels on another machine.
    assert reply.data[:24] == (FOLDER / "example_output.bin").read_bytes()[:24]


def test_bad_input_is_answered_with_a_sentence(client: FlaskClient) -> None:
    reply = client.post("/", data="{}")
    assert (reply.status_code, reply.mimetype) == (400, "text/plain")
    assert reply.text == '"prompt" is missing: what shall be drawn?'


def test_too_large(client: FlaskClient) -> None:
    reply = client.post("/", data=b" " * (65 << 10))
    assert (reply.status_code, reply.text) == (413, "The request has more than 64 KiB.")
