"""What a host operator can set: the executor's knobs, each spelled once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from lading.contracts.meca import EXECUTOR_PORT
from lading.errors import ConfigError
from lading.settings import EngineOptions, from_environment, knob, variable

__all__ = ["ExecutorOptions", "load"]

Positive = Annotated[float, Gt(0)]
Seconds = Annotated[float, Gt(0), Le(86_400 * 365)]
MEBIBYTE = "MiB"


@validated(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True)
class ExecutorOptions(EngineOptions):
    """The executor's configuration: which engine, and what it lends to whom, and how."""

    type: str = knob(
        "docker",
        "Kept for the original's files, where it is always docker: an engine with Docker's "
        "interface. Which one is --engine's to say.",
        metavar="docker",
    )
    timeout: Positive = knob(
        1.0, "Minutes that a warm container may idle before it is removed.", metavar="MINUTES"
    )
    cpu: Positive = knob(
        4.0, "Cores that tasks may use together; never more than the host has.", metavar="CORES"
    )
    mem: Annotated[int, Gt(0)] = knob(
        4096,
        "MiB that tasks may use together; never more than 80 % of the host's memory.",
        metavar=MEBIBYTE,
    )
    has_gpu: bool = knob(False, "Lend the host's GPUs to tasks that ask for them.")
    microvm_runtime: str = knob(
        "",
        "OCI runtime, by the name the engine has it under (kata, runsc), for requests with "
        '"runtime": "microVM". Without it such requests are refused.',
        flag="--microvm-runtime",
        metavar="NAME",
    )
    sgx: bool = knob(False, "Lend the SGX enclave device to requests with use_sgx.")
    sgx_device: str = knob("/dev/sgx_enclave", "The enclave device on this host.", metavar="PATH")
    aesmd_path: str = knob(
        "/var/run/aesmd", "The directory of the AESM service's socket on this host.", metavar="PATH"
    )
    listen: str = knob(
        f"127.0.0.1:{EXECUTOR_PORT}",
        "Address and port to serve on. Anything but loopback needs a token.",
        metavar="HOST:PORT",
    )
    token: str = knob(
        "",
        "Bearer token that every request must carry (better set by LADING_TOKEN).",
        metavar="TOKEN",
    )
    tokens: str = knob(
        "",
        "File with a bearer token for each client, in lines of name: token. They may have tasks "
        "executed, and are named in the ledger; the rest takes --token.",
        metavar="FILE",
    )
    no_token: bool = knob(
        False, "Serve beyond loopback without a token: only on a network that you trust."
    )
    queue: Annotated[int, Ge(0)] = knob(
        100, "Requests that may wait for room; the next is refused at once.", metavar="N"
    )
    queue_timeout: Seconds = knob(
        300.0, "Seconds that a request may wait for room.", metavar="SECONDS"
    )
    patience: Annotated[float, Ge(0)] = knob(
        2.0, "Seconds that smaller requests may pass one that doesn't fit yet.", metavar="SECONDS"
    )
    request_timeout: Seconds = knob(
        300.0,
        "Seconds that a ready task may take for one request; a request can ask for less.",
        metavar="SECONDS",
    )
    start_timeout: Seconds = knob(
        60.0, "Seconds that a task may take from its start until it can serve.", metavar="SECONDS"
    )
    drain: Annotated[float, Ge(0)] = knob(
        30.0,
        "Seconds that running requests get to finish when the executor ends.",
        metavar="SECONDS",
    )
    concurrency: Annotated[int, Ge(1)] = knob(
        4,
        "Requests that one container gets at once when there is no room for another container.",
        metavar="N",
    )
    spares: Annotated[int, Ge(0)] = knob(
        0, "Started containers kept beyond demand for each recently used task.", metavar="N"
    )
    pids: Annotated[int, Ge(1)] = knob(
        512, "Processes and threads that one task may have.", metavar="N"
    )
    egress: bool = knob(False, "Let tasks reach the network; without it they reach nothing.")
    network: str = knob(
        "auto",
        "How tasks are reached: sealed (no network at all), bridge (a closed network of the "
        "engine, where they can't reach each other), or auto (sealed where it can be done).",
        metavar="MODE",
    )
    max_input: Annotated[int, Gt(0)] = knob(
        64, "MiB that a request may have at the most.", metavar=MEBIBYTE
    )
    max_output: Annotated[int, Gt(0)] = knob(
        64, "MiB that a task's reply may have at the most.", metavar=MEBIBYTE
    )
    ipfs_api: str = knob(
        "",
        "Fetch tasks that are asked for by their CID from the IPFS node whose RPC interface is "
        "there, as http://127.0.0.1:5001. Without it such requests are refused.",
        metavar="URL",
    )
    fetch_timeout: Seconds = knob(
        60.0, "Seconds without anything new after which a fetch is given up.", metavar="SECONDS"
    )
    max_task: Annotated[int, Gt(0)] = knob(
        1024, "MiB that a fetched task may have at the most.", metavar=MEBIBYTE
    )
    build: str = knob(
        "offline",
        "What is done with a fetched task that has to be built: offline (its RUN steps reach no "
        "network), network (they reach the engine's usual one), or never (it is refused; images "
        "are loaded).",
        metavar="MODE",
    )
    build_timeout: Seconds = knob(
        900.0,
        "Seconds that the fetch of a task may take in all, and its build as many.",
        metavar="SECONDS",
    )
    build_args: str = knob(
        "",
        "Arguments for the Dockerfiles of fetched tasks, with spaces between them: a mirror of "
        "their base image, maybe.",
        metavar="KEY=VALUE",
    )
    market: str = knob(
        "",
        "Catalogue and ledger: a path of SQLite, postgresql://USER@HOST/NAME, or none for no "
        "ledger. Default: market.sqlite in the state directory.",
        metavar="URL",
    )
    key_days: Annotated[float, Ge(0)] = knob(
        0.0,
        "Days after which another key signs the receipts; what the old one signed stays valid. "
        "0: never.",
        metavar="DAYS",
    )
    ledger_patience: Seconds = knob(
        10.0,
        "Seconds that a reply waits for a ledger that can't be written; then it is withheld, and "
        "no work is taken until it can.",
        metavar="SECONDS",
    )
    keep_replies: Annotated[float, Ge(0)] = knob(
        24.0,
        "Hours for which the reply to a request with an Idempotency-Key is kept for who asks "
        "again (256 MiB of them at the most).",
        metavar="HOURS",
    )
    listed_only: bool = knob(
        False, "Execute only tasks that the catalogue lists, and has not retired."
    )
    state: str = knob(
        "",
        "Directory of the records. Default: LADING_STATE, or the XDG state directory.",
        metavar="DIR",
    )


_ADAPTER: TypeAdapter[ExecutorOptions] = TypeAdapter(ExecutorOptions)
_IN_SGX = ("sgx_device", "aesmd_path")
_RENAMED = {"microVM_runtime": "microvm_runtime"}


def load(
    file: Path | None,
    flags: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
) -> tuple[ExecutorOptions, list[str]]:
    """Put the options together: default, then file, then variables, then flags.

    Parameters
    ----------
    file : Path or None
        YAML. Besides the knobs' names it may use the original's: ``microVM_runtime`` and a nested
        ``sgx: {enable, sgx_device, aesmd_path}``.
    flags : mapping
        Knob name to value; what the command line sets.
    env : mapping or None
        The environment; by default the process's.

    Returns
    -------
    (ExecutorOptions, list of str)
        The options, and warnings about keys that nobody knows.

    Raises
    ------
    ConfigError
        Names the file, flag or variable, the key, and what is wrong.
    """
    warnings: list[str] = []
    known = {item.name for item in dataclasses.fields(ExecutorOptions)}
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    content = _flatten(_read(file)) if file else {}
    layers = [
        *((f"{file}: {key}", key, value) for key, value in content.items()),
        *((variable(k), k, v) for k, v in from_environment(ExecutorOptions, env).items()),
        *((f"command line: {key}", key, value) for key, value in flags.items()),
    ]
    for place, key, value in layers:
        name = _RENAMED.get(key, key)
        if name in known:
            values[name], origin[name] = value, place
        else:
            warnings.append(f"{file}: unknown key {key!r} is ignored")
    try:
        options = _ADAPTER.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        raise ConfigError(origin.get(key, key), f"{first['msg']}, got {first['input']!r}") from None
    _check(options, origin)
    return options, warnings


def _check(options: ExecutorOptions, origin: Mapping[str, str]) -> None:
    if options.type != "docker":
        raise ConfigError(
            origin["type"],
            f"{options.type!r} is not docker, the only type there is",
            fix="choose the engine by 'engine': docker, podman, or an address",
        )
    if options.engine_timeout <= 0:
        raise ConfigError(origin["engine_timeout"], "must be seconds, more than 0")
    if options.network not in ("auto", "sealed", "bridge"):
        raise ConfigError(
            origin["network"],
            f"{options.network!r} is none of auto, sealed, bridge",
        )
    if options.listed_only and options.market == "none":
        raise ConfigError(origin["listed_only"], "needs a catalogue, and market is none")
    if options.build not in ("never", "offline", "network"):
        raise ConfigError(origin["build"], f"{options.build!r} is none of never, offline, network")
    for item in options.build_args.split():
        if not item.partition("=")[0] or "=" not in item:
            raise ConfigError(origin["build_args"], f"{item!r} is not KEY=VALUE")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(file), f"can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), f"is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(str(file), f"must hold keys and values, not a {type(content).__name__}")
    return {str(key): value for key, value in content.items() if value is not None}


def _flatten(content: dict[str, Any]) -> dict[str, Any]:
    nested = content.get("sgx")
    if isinstance(nested, dict):
        content = {**content, "sgx": nested.get("enable") or False}
        for key, value in nested.items():
            if key not in ("enable", *_IN_SGX):
                content[f"sgx.{key}"] = value  # which nobody knows
            elif key != "enable" and value is not None:
                content[key] = value
    return content
