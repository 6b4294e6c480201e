"""The task: an HTTP server on port 8080 that takes JSON and answers with a JSON list."""

import json
import signal
import sys

from flask import Flask, request
from knn import BadInput, nearest, read
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.serving import make_server

MOST_BYTES = 8 << 20
"""Of a request: as much as the memory in config.json is good for."""

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
TEXT = {"Content-Type": "text/plain; charset=utf-8"}


@app.post("/")
def run():
    try:
        question = read(request.get_data())
    except BadInput as error:
        return str(error), 400, TEXT
    return json.dumps(nearest(question)), {"Content-Type": "application/json"}


@app.errorhandler(RequestEntityTooLarge)
def too_large(_error):
    return f"The request has more than {MOST_BYTES >> 20} MiB.", 413, TEXT


def warm_up() -> None:
    """Start what starts processes, so that the first request need not wait for it."""
    nearest(read(b'{"dataset": [[0], [1]], "point": [0], "k": 1, "num_processes": 2}'))


def serve() -> None:
    # The first process of a container ignores SIGTERM unless it says what to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    warm_up()
    server = make_server("0.0.0.0", 8080, app, threaded=True)
    print("meca-init-done", flush=True)
    server.serve_forever()
