"""The executor's configuration: file, variables, flags, in that order."""

from __future__ import annotations

from pathlib import Path

import pytest

from lading.contracts.meca.options import ExecutorOptions, load
from lading.contracts.meca.serve import check_listen
from lading.errors import ConfigError


def test_defaults_are_the_contracts() -> None:
    options, warnings = load(None, {}, {})
    assert (options.timeout, options.cpu, options.mem) == (1, 4, 4096)
    assert options.listen == "127.0.0.1:2591"
    assert not warnings


def test_the_originals_file(tmp_path: Path) -> None:
    file = tmp_path / "mecanywhere_executor.yaml"
    file.write_text(
        "type: docker\ntimeout: 2\ncpu: 8\nmem: 1024\nhas_gpu: true\nmicroVM_runtime: kata\n"
        "sgx:\n  enable: true\n  sgx_device: /dev/sgx/e\n  aesmd_path: /run/aesm\nold_key: 1\n"
    )
    options, warnings = load(file, {}, {})
    assert (options.timeout, options.cpu, options.mem, options.has_gpu) == (2, 8, 1024, True)
    assert options.microvm_runtime == "kata"
    assert (options.sgx, options.sgx_device, options.aesmd_path) == (
        True,
        "/dev/sgx/e",
        "/run/aesm",
    )
    assert warnings == [f"{file}: unknown key 'old_key' is ignored"]


def test_later_beats_earlier(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("cpu: 1\nmem: 100\nqueue: 5\n")
    options, _ = load(file, {"cpu": 3.0}, {"LADING_CPU": "2", "LADING_MEM": "200"})
    assert (options.cpu, options.mem, options.queue) == (3, 200, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cpu: 0", "cpu"),
        ("mem: many", "mem"),
        ("timeout: -1", "timeout"),
        ("network: wild", "network"),
        ("type: podman", "engine"),
        ("engine_timeout: 0", "engine_timeout"),
        ("cpu: .nan", "cpu"),
        ("- a\n- b", "keys and values"),
        ("a: [", "not YAML"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load(file, {}, {})
    assert str(file) in str(caught.value)


def test_a_bad_variable_or_flag_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^LADING_CPU: "):
        load(None, {}, {"LADING_CPU": "many"})
    with pytest.raises(ConfigError, match=r"^command line: queue: "):
        load(None, {"queue": -1}, {"LADING_QUEUE": "5"})


def test_only_what_belongs_there_is_read_below_sgx(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("sgx:\n  enable:\n  sgx_device:\n  listen: 0.0.0.0:1\n")
    options, warnings = load(file, {}, {})
    assert options == ExecutorOptions()
    assert warnings == [f"{file}: unknown key 'sgx.listen' is ignored"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml", {}, {})


@pytest.mark.parametrize("listen", ["127.0.0.1:2591", "localhost:0", "[::1]:80"])
def test_loopback_needs_no_token(listen: str) -> None:
    assert check_listen(ExecutorOptions(listen=listen))


@pytest.mark.parametrize("listen", ["0.0.0.0:2591", "10.0.0.1:80", "[::]:80", ":80"])
def test_beyond_loopback_needs_a_token(listen: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        check_listen(ExecutorOptions(listen=listen))
    assert check_listen(ExecutorOptions(listen=listen, token="t"))
    assert check_listen(ExecutorOptions(listen=listen, no_token=True))


@pytest.mark.parametrize(
    "listen", ["2591", "localhost", "localhost:many", "localhost:70000", "localhost:²"]
)
def test_no_address(listen: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        check_listen(ExecutorOptions(listen=listen))
