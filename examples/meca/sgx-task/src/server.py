"""The task: an HTTP server on port 8080, with the calls of an SGX task and the plain one."""

import json
import signal
import sys

from flask import Flask, request
from mock_enclave import MockEnclave, Refused
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.serving import make_server
from work import work

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1 << 20
enclave = MockEnclave()


class BadInput(ValueError):
    """What was sent is not what is read here."""


@app.get("/ra")
def attest():
    quote, pem = enclave.attest()
    return {"msg": {"report": quote.hex(), "key": pem.decode()}}


@app.post("/run")
def run_sealed():
    try:
        sealed = bytes.fromhex(value_of(request.get_data()))
    except BadInput as error:
        return {"error": str(error)}, 400
    except ValueError:
        return {"error": '"value" must be hexadecimal.'}, 400
    try:
        return {"msg": enclave.run(sealed).hex()}
    except Refused as error:
        return {"error": f"The input is refused: {error}."}, 400


@app.post("/")
def run_plain():
    """The same work, and nothing is encrypted: what `lading test` calls, on any machine."""
    try:
        value = value_of(request.get_data())
    except BadInput as error:
        return {"error": str(error)}, 400
    return work(value.encode()), {"Content-Type": "text/plain; charset=utf-8"}


def value_of(body: bytes) -> str:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The request is not JSON: {error}.") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("value"), str):
        raise BadInput('The request must be a JSON object with a text, "value".')
    return asked["value"]


@app.errorhandler(RequestEntityTooLarge)
def too_large(_error):
    return {"error": "The request has more than 1 MiB."}, 413


if __name__ == "__main__":
    # The first process of a container ignores SIGTERM unless it says what to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = make_server("0.0.0.0", 8080, app, threaded=True)
    print("mock enclave: no SGX, no protection")
    print("meca-init-done", flush=True)
    server.serve_forever()
