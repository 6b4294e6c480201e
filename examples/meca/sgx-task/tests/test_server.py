"""The HTTP side."""

from pathlib import Path

import client
import pytest
import server
from flask.testing import FlaskClient

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def http() -> FlaskClient:
    return server.app.test_client()


def test_attested_and_run(http: FlaskClient) -> None:
    key = client.key_of(http.get("/ra").json["msg"])
    output_key = b"0123456789012345"
    reply = http.post("/run", json={"value": client.encrypt(key, b"you", output_key)})
    assert client.decrypt(output_key, reply.json["msg"]) == b"hello you"


def test_the_example(http: FlaskClient) -> None:
    reply = http.post("/", data=(FOLDER / "example_input.bin").read_bytes())
    assert (reply.status_code, reply.mimetype) == (200, "text/plain")
    assert reply.data == (FOLDER / "example_output.bin").read_bytes()


@pytest.mark.parametrize("path", ["/", "/run"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "The request is not JSON"),
        (b"[]", 'a JSON object with a text, "value"'),
        (b'{"value": 1}', 'a JSON object with a text, "value"'),
    ],
)
def test_bad_input(http: FlaskClient, path: str, body: bytes, says: str) -> None:
    reply = http.post(path, data=body)
    assert reply.status_code == 400
    assert says in reply.json["error"]


@pytest.mark.parametrize(("value", "says"), [("xyz", "hexadecimal"), ("00", "refused: 1 bytes")])
def test_no_encrypted_input(http: FlaskClient, value: str, says: str) -> None:
    reply = http.post("/run", json={"value": value})
    assert reply.status_code == 400
    assert says in reply.json["error"]


def test_too_large(http: FlaskClient) -> None:
    reply = http.post("/", data=b" " * ((1 << 20) + 1))
    assert (reply.status_code, reply.json) == (413, {"error": "The request has more than 1 MiB."})
