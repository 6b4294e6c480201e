"""The probe: the image that stands for every task container in tests and benchmarks.

`probe.c` is compiled once per version of its source and imported into an engine over
its API, so that neither a registry nor a docker or podman command is needed.
"""

import hashlib
import http.client
import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
from collections.abc import Mapping, Sequence

NAME = "lading-test/probe:1"

_SOURCE = pathlib.Path(__file__).with_name("probe.c")
_TIMEOUT_S = 60.0
_PASSWD = "root:x:0:0:root:/:/probe\nnobody:x:65534:65534:nobody:/:/probe\n"


class ProbeError(Exception):
    """The probe could not be compiled or the engine did not take it."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def ensure_probe(docker_host: str) -> str:
    """Make sure that an engine has the probe image.

    Parameters
    ----------
    docker_host
        The engine's address as `DOCKER_HOST` spells it: `unix:///path` or `tcp://host:port`.

    Returns
    -------
    str
        The image's name, `lading-test/probe:1`.

    Raises
    ------
    ProbeError
        No compiler, or the engine refused the image.
    OSError
        Nothing answers at `docker_host`.
    """
    version = _source_hash()
    old = None
    status, body = call(docker_host, "GET", f"/images/{NAME}/json")
    if status == 200:
        old = json.loads(body)
        if (old["Config"].get("Labels") or {}).get("lading.test.source") == version:
            return NAME
    changes = [
        'ENTRYPOINT ["/probe"]',
        'CMD ["serve"]',
        "EXPOSE 8080",
        "ENV PROBE=1",
        "LABEL lading.test=probe",
        f"LABEL lading.test.source={version}",
    ]
    import_image(docker_host, NAME, _root_file_system(compile_probe()), changes)
    if old is not None:
        # Nameless now. It stays where a container still uses it, so the reply doesn't matter.
        call(docker_host, "DELETE", f"/images/{old['Id']}")
    return NAME


def make_image(
    docker_host: str, name: str, files: Mapping[str, bytes], changes: Sequence[str] = ()
) -> str:
    """Make an image that is the probe with more files in it; who makes it removes it.

    Parameters
    ----------
    docker_host
        As for `ensure_probe`.
    name
        With its tag, as `lading-test/reader:1`.
    files
        Contents by path, relative to the root; those below ``bin/`` are programs.
    changes
        More lines as of a Dockerfile: `USER 1000`.

    Returns
    -------
    str
        Its id, `sha256:...`.

    Raises
    ------
    ProbeError
        No compiler, or the engine refused the image.
    """
    own = ['ENTRYPOINT ["/probe"]', "ENV PROBE=1", "LABEL lading.test=image"]
    archive = _root_file_system(compile_probe(), files)
    import_image(docker_host, name, archive, [*own, *changes])
    image: str = json.loads(call(docker_host, "GET", f"/images/{name}/json")[1])["Id"]
    return image


def remove_image(docker_host: str, name: str) -> None:
    """Remove an image, by its name or id, if it is there."""
    call(docker_host, "DELETE", f"/images/{name}?force=1")


def import_image(docker_host: str, name: str, archive: bytes, changes: list[str]) -> None:
    # The tag goes with the name: Podman 4.3 ignores a separate `tag`.
    query = urllib.parse.urlencode({"fromSrc": "-", "repo": name, "changes": changes}, doseq=True)
    status, body = call(docker_host, "POST", f"/images/create?{query}", archive)
    # Both engines may report a failure in the stream of a reply that began with 200.
    if status != 200 or b'"error"' in body:
        text = body.decode(errors="replace").strip()
        raise ProbeError(f"{docker_host} did not take the image {name}: {status} {text}")


def compile_probe() -> pathlib.Path:
    """Compile `probe.c`, once per version of its source.

    Returns
    -------
    pathlib.Path
        The static program, in a cache folder.

    Raises
    ------
    ProbeError
        gcc is missing or failed.
    """
    cache = pathlib.Path(tempfile.gettempdir()) / f"lading-test-probe-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        raise ProbeError(f"{cache} belongs to another user; remove it")
    program = cache / _source_hash()
    if program.exists():
        return program
    # Another test process may compile at the same time: write aside, then rename.
    aside = cache / f"{program.name}.{os.getpid()}"
    try:
        done = subprocess.run(
            ["gcc", "-static", "-O2", "-pthread", "-s", "-o", str(aside), str(_SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ProbeError(
            "gcc is not installed, tests on real engines need it: apt-get install gcc libc6-dev"
        ) from None
    if done.returncode != 0:
        raise ProbeError(f"gcc could not compile {_SOURCE.name}:\n{done.stderr}")
    aside.rename(program)
    return program


def _source_hash() -> str:
    return hashlib.sha256(_SOURCE.read_bytes() + pathlib.Path(__file__).read_bytes()).hexdigest()[
        :16
    ]


def _root_file_system(program: pathlib.Path, more: Mapping[str, bytes] | None = None) -> bytes:
    """The image's files as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder, mode in (("data", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name, content, mode in (
            ("probe", program.read_bytes(), 0o755),
            ("data/hello.txt", b"hello\n", 0o644),
            ("etc/passwd", _PASSWD.encode(), 0o644),
            *(
                (path, content, 0o755 if path.startswith("bin/") else 0o644)
                for path, content in (more or {}).items()
            ),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def call(docker_host: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """One call of an engine's API: its status and body."""
    connection: http.client.HTTPConnection
    scheme, _, address = docker_host.partition("://")
    if scheme == "unix":
        connection = _UnixConnection(address)
    elif scheme in ("tcp", "http"):
        connection = http.client.HTTPConnection(address.rstrip("/"), timeout=_TIMEOUT_S)
    else:
        raise ProbeError(f"{docker_host}: only unix:// and tcp:// are understood")
    try:
        connection.request(method, path, body, {"Content-Type": "application/x-tar"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


if __name__ == "__main__":
    print(ensure_probe(sys.argv[1]))
