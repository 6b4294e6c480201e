"""A model by its name, from a hub on this machine: no other is asked."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import get_model as program
import pytest
from drawing import Painter, Wish

NAME = "somebody/tiny"
COMMIT = "0" * 40


def digest(file: Path) -> str:
    """What git calls a file: the hub does so, too."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    program.get_model("tiny", folder)
    # What repositories have besides, and what can hold code.
    (folder / "README.md").write_text("# tiny")
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture
def hub(files: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub that has one model: its address, and the paths of what was fetched."""
    fetched: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, *, send: bool) -> None:
            path = self.path.partition("?")[0]
            head = {"X-Repo-Commit": COMMIT}
            there = {str(p.relative_to(files)): p for p in files.rglob("*") if p.is_file()}
            if path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
                siblings = [{"rfilename": name} for name in there]
                body = json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode()
            elif path == f"/api/models/{NAME}/tree/{COMMIT}":
                entries = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": digest(file)}
                    for name, file in there.items()
                ]
                body = json.dumps(entries).encode()
            elif path.startswith(f"/{NAME}/resolve/"):
                name = path.split("/", 5)[5]
                if name not in there:
                    return self.send_error(404)
                body = there[name].read_bytes()
                head["ETag"] = f'"{digest(there[name])}"'
                if send:
                    fetched.append(name)
            else:
                return self.send_error(404)
            self.send_response(200)
            for name, value in {**head, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if send:
                self.wfile.write(body)
            return None

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", fetched
        server.shutdown()


def get_model(model: str, folder: Path, hub: str) -> subprocess.CompletedProcess[str]:
    """As the Dockerfile does: the hub's address is read when a program starts."""
    return subprocess.run(
        [sys.executable, program.__file__, model, folder],
        env={**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(folder.parent / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_of_the_hub(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, fetched = hub
    folder = tmp_path / "model"
    done = get_model(NAME, folder, address)
    assert done.returncode == 0, done.stderr
    assert "unet/diffusion_pytorch_model.safetensors" in fetched
    assert [name for name in fetched if name.endswith((".bin", ".md"))] == []
    assert folder.resolve().is_relative_to(tmp_path / "hub")
    for path in folder.resolve().rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444
    assert Painter(str(folder)).draw(Wish("x", width=64, height=64, num_inference_steps=1))
