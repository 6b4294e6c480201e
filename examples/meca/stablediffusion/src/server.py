"""The task: an HTTP server on port 8080 that takes JSON and answers with a PNG file."""

import os
import signal
import sys
import tempfile

# Before diffusers is imported: where it keeps what it fetches. The task's user has no home.
os.environ.setdefault("HF_HOME", tempfile.gettempdir())

from drawing import BadInput, Painter, Wish, read
from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.serving import make_server

TEXT = {"Content-Type": "text/plain; charset=utf-8"}


def make_app(painter: Painter) -> Flask:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 64 << 10

    @app.post("/")
    def run():
        try:
            wish = read(request.get_data())
        except BadInput as error:
            return str(error), 400, TEXT
        return painter.draw(wish), {"Content-Type": "image/png"}

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_error):
        return "The request has more than 64 KiB.", 413, TEXT

    return app


if __name__ == "__main__":
    # The first process of a container ignores SIGTERM unless it says what to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    painter = Painter(os.environ["MODEL"])
    # The first picture takes seconds longer, so it is not the first caller's.
    painter.draw(Wish("", width=64, height=64, num_inference_steps=1))
    server = make_server("0.0.0.0", 8080, make_app(painter), threaded=True)
    print(f"drawing on the {painter.device} with {os.environ['MODEL']}")
    print("meca-init-done", flush=True)
    server.serve_forever()
