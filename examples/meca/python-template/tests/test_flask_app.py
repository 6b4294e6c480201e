"""The task, without a container. `lading test` tries the container."""

from pathlib import Path

import flask_app
import pytest
from flask.testing import FlaskClient

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def client() -> FlaskClient:
    return flask_app.app.test_client()


def test_the_example(client: FlaskClient) -> None:
    reply = client.post("/", data=(FOLDER / "example_input.bin").read_bytes())
    assert (reply.status_code, reply.mimetype) == (200, "text/plain")
    assert reply.data == (FOLDER / "example_output.bin").read_bytes()


def test_any_script(client: FlaskClient) -> None:
    assert client.post("/", json={"input": "größer: 大 <b>"}).text == "größer: 大 <b>"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "The request is not JSON"),
        (b'{"input": ', "The request is not JSON"),
        (b"[" * 100_000, "The request is not JSON"),
        (b'["input"]', 'a JSON object with a text, "input"'),
        (b'{"text": "x"}', 'a JSON object with a text, "input"'),
        (b'{"input": 1}', 'a JSON object with a text, "input"'),
    ],
)
def test_bad_input_is_answered_with_a_sentence(client: FlaskClient, body: bytes, says: str) -> None:
    reply = client.post("/", data=body)
    assert (reply.status_code, reply.mimetype) == (400, "text/plain")
    assert says in reply.text
