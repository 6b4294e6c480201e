"""A MECAnywhere task: an HTTP server on port 8080 that takes JSON and returns a string."""

import json
import signal
import sys

from flask import Flask, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.post("/")
def run():
    try:
        data = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        return refuse(f"The request is not JSON: {error}.")
    if not isinstance(data, dict) or not isinstance(data.get("input"), str):
        return refuse('The request must be a JSON object with a text, "input".')
    return work(data["input"]), {"Content-Type": "text/plain; charset=utf-8"}


def work(text: str) -> str:
    """Put the task's work here; this one returns what it gets."""
    return text


def refuse(why: str):
    """Say why a request can't be answered: an executor passes it on to the caller."""
    return why, 400, {"Content-Type": "text/plain; charset=utf-8"}


if __name__ == "__main__":
    # The first process of a container ignores SIGTERM unless it says what to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = make_server("0.0.0.0", 8080, app, threaded=True)
    # The socket listens from here on. Without flush the line would stay in a buffer,
    # and whoever waits for it would wait in vain.
    print("meca-init-done", flush=True)
    server.serve_forever()
