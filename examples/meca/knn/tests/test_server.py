"""The HTTP side: statuses, and sentences."""

import json
from pathlib import Path

import pytest
import server
from flask.testing import FlaskClient

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def client() -> FlaskClient:
    return server.app.test_client()


def test_the_example(client: FlaskClient) -> None:
    reply = client.post("/", data=(FOLDER / "example_input.bin").read_bytes())
    assert (reply.status_code, reply.mimetype) == (200, "application/json")
    assert reply.data == (FOLDER / "example_output.bin").read_bytes()


def test_bad_input_is_answered_with_a_sentence(client: FlaskClient) -> None:
    reply = client.post("/", data=json.dumps({"dataset": [[1]], "point": [1], "k": 2}))
    assert (reply.status_code, reply.mimetype) == (400, "text/plain")
    assert reply.text == '"k" must be a whole number from 1 to 1, not 2.'


def test_too_large(client: FlaskClient) -> None:
    reply = client.post("/", data=b" " * (server.MOST_BYTES + 1))
    assert (reply.status_code, reply.text) == (413, "The request has more than 8 MiB.")
