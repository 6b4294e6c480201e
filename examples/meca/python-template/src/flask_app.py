"""A MECAnywhere task: an HTTP server on port 8080 that takes JSON and returns a string."""

from flask import Flask, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.route("/", methods=["POST"])
def run():
    """Put the task's work here; this one returns the field `input` as it came."""
    data = request.json
    return data["input"]


if __name__ == "__main__":
    server = make_server("0.0.0.0", 8080, app, threaded=True)
    # The socket listens from here on. Without flush the line would stay in a buffer,
    # and whoever waits for it would wait in vain.
    print("meca-init-done", flush=True)
    server.serve_forever()
