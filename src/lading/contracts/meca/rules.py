"""The rules for task folders, besides those for folders of all contracts.

Sources: contract 1 in ``docs/reference/task.md``, after the public documents of MECAnywhere.
"""

from __future__ import annotations

from lading.folders.findings import ERROR, HINT, WARNING, Rule

__all__ = ["MECA"]

FILE_MISSING = Rule(
    "file-missing",
    ERROR,
    "One of the seven things of a task folder is not there: `Dockerfile`, `src`, `name.txt`, "
    "`description.txt`, `example_input.bin`, `example_output.bin`, `config.json`.",
    "the contract wants it, and publishers and hosts of the original read it",
    "add it; `lading new meca` writes a folder that has all",
)
FILE_EMPTY = Rule(
    "file-empty",
    ERROR,
    "One of them is empty.",
    "the contract wants something in it",
    "fill it in",
)
FILE_UNUSABLE = Rule(
    "file-unusable",
    ERROR,
    "One of them is a directory (or `src` is none), a link out of the folder, can't be read, or is "
    "no UTF-8 where it has to be text.",
    "nobody can use it",
    "put a plain file of that name there",
)
NAME_NOT_ONE_LINE = Rule(
    "name-not-one-line",
    WARNING,
    "`name.txt` has several lines, or more than 100 characters.",
    "it is the title under which the task is listed",
    "move the rest to description.txt",
)
BYTE_ORDER_MARK = Rule(
    "byte-order-mark",
    WARNING,
    "A file begins with a byte order mark.",
    "it is sent or read as part of the text, and many a reader of JSON refuses it",
    "save it as UTF-8 without BOM",
)
CONFIG_INVALID = Rule(
    "config-invalid",
    ERROR,
    "`config.json` is no JSON object, or a field has a value that it can't have.",
    "the task can't be run",
    'write {"resource": {"cpu": 1, "mem": 128, "use_gpu": false, "gpu_count": 0}}',
)
CONFIG_UNKNOWN_FIELD = Rule(
    "config-unknown-field",
    WARNING,
    "`config.json` has a field that nobody reads, or one key twice.",
    "it has no effect",
    "the fields are resource.cpu, .mem, .use_gpu, .gpu_count and .use_sgx",
)
CONFIG_OTHER_SPELLING = Rule(
    "config-other-spelling",
    HINT,
    "A field is spelled as some callers do, and not as the contract does: `memory`, `useGpu`, ...",
    "it is read here, and not everywhere",
    "use the contract's spelling",
)
CPU_FRACTIONAL = Rule(
    "cpu-fractional",
    HINT,
    "`resource.cpu` is no whole number.",
    "the original executor refuses it, although it is documented",
    "take a whole number if hosts with the original are to run it",
)
GPU_COUNT_UNUSED = Rule(
    "gpu-count-unused",
    WARNING,
    "`gpu_count` is above 0, and `use_gpu` is not true.",
    "the task gets no GPU",
    "set use_gpu to true, or gpu_count to 0",
)
GPU_COUNT_ZERO = Rule(
    "gpu-count-zero",
    HINT,
    "`use_gpu` is true, and `gpu_count` is 0.",
    "it is read as 1 here; others may take it at its word",
    "say how many: gpu_count 1",
)
LIMITS_ABOVE_DEFAULTS = Rule(
    "limits-above-defaults",
    HINT,
    "The task wants more than an executor gives by default: 4 cores, 4096 MB.",
    "only hosts that were set up for more can run it",
    "`lading profile` finds what it really needs",
)
INPUT_NOT_JSON = Rule(
    "input-not-json",
    ERROR,
    "`example_input.bin` is no JSON. With `use_sgx`, `SGXRAREQUEST` is allowed.",
    "a task's input is JSON by the contract",
    "write the body of a request, byte for byte",
)
INPUT_ODD = Rule(
    "input-odd",
    HINT,
    "`example_input.bin` is a JSON string that holds JSON, or white space follows it.",
    "it is sent byte for byte, and callers will copy it",
    "write the value itself, without a newline at the end",
)
EXAMPLE_LARGE = Rule(
    "example-large",
    WARNING,
    "`example_input.bin` or `example_output.bin` has more than 8 MiB, and is not looked into.",
    "every host fetches it",
    "a smaller example shows as much",
)
PORT_NOT_EXPOSED = Rule(
    "port-not-exposed",
    ERROR,
    "The `Dockerfile` has no `EXPOSE 8080`.",
    "the contract wants it: hosts call the task on that port",
    "write EXPOSE 8080",
)
COMMAND_MISSING = Rule(
    "command-missing",
    ERROR,
    "The `Dockerfile` has neither `CMD` nor `ENTRYPOINT`.",
    "the container would run its base image's command, which is no server",
    'write CMD ["python", "server.py"]',
)
RUNS_AS_ROOT = Rule(
    "runs-as-root",
    WARNING,
    "The image's user is root, as it is without `USER`.",
    "a fault in the task, or in what it loads, has more to do harm with",
    "write USER 65534:65534 before CMD, if nothing needs root",
)
MARK_NOT_FOUND = Rule(
    "mark-not-found",
    HINT,
    "Neither the `Dockerfile` nor a file in `src` holds `meca-init-done`.",
    "a host waits for that line before it sends the first request",
    'print it once the socket listens: print("meca-init-done", flush=True)',
)
MARK_NOT_FLUSHED = Rule(
    "mark-not-flushed",
    WARNING,
    "A Python program prints the mark without `flush=True`, and Python's output is buffered.",
    "in a container the line stays in a buffer, and hosts wait for it in vain",
    'print("meca-init-done", flush=True), or ENV PYTHONUNBUFFERED=1 in the Dockerfile',
)
LISTENS_ON_LOOPBACK = Rule(
    "listens-on-loopback",
    WARNING,
    "The server listens on 127.0.0.1, as those of Flask and uvicorn do if they are not told.",
    "nobody outside the container reaches it",
    'listen on 0.0.0.0: --host 0.0.0.0, or host="0.0.0.0"',
)
FOLDER_TOO_WIDE = Rule(
    "folder-too-wide",
    WARNING,
    "A directory has 1,000 entries, or so many names that they don't fit into one block of IPFS.",
    "its CID depends on which node adds it, and can't be computed without one",
    "spread the files over several directories, or pack them",
)
SYNTAX_FETCHED = Rule(
    "syntax-fetched",
    WARNING,
    "The `Dockerfile` names the image of its builder: `# syntax=`.",
    "an executor that builds without a network refuses to run a builder that it has to fetch",
    "take the line away: builders know here-documents and mounts without it since 2023",
)
BUILD_NEEDS_NETWORK = Rule(
    "build-needs-network",
    HINT,
    "A `RUN` installs or fetches something.",
    "an executor builds a folder that it fetched without a network, unless its operator allows it",
    "publish the image, too: lading push --image; or put what is needed into the folder",
)

MECA: tuple[Rule, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Rule)
)
"""All of them, in the order of this file."""
