"""What ``lading golem`` is given: an application, and the parameters of a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lading.contracts.golem.driver.journal import AppReference
from lading.errors import InputError

__all__ = ["read_app", "read_params"]


def read_app(given: str, tag: str = "") -> AppReference:
    """Read which application is meant: an image, a definition file, or a folder to build.

    Raises
    ------
    FileInvalid
        It is no definition; with everything that is wrong.
    """
    if Path(given).is_dir():
        from lading.run.build_context import trial_tag  # noqa: PLC0415

        folder = Path(given).resolve()
        return AppReference(folder.name, tag or trial_tag(folder.name))
    if tag:
        raise InputError(
            "--tag", f"names the image of a folder that is built, and {given!r} is none"
        )
    if not given.endswith(".json") and not Path(given).is_file():
        if given.startswith((".", "/", "~")):
            raise InputError("APP", f"there is no file or folder {given}")
        return AppReference(given, given)
    from lading.contracts.golem.appdefs import read_app_definition  # noqa: PLC0415

    definition = read_app_definition(Path(given))
    return AppReference(definition.name, definition.image, definition.to_json())


def read_params(given: str) -> dict[str, Any]:
    """Read parameters: JSON, or a file that holds it.

    Raises
    ------
    InputError
        They are no JSON object; says where.
    """
    source, text = "--params", given
    if not given.lstrip().startswith(("{", "[", '"')):
        source, text = given, _read(given)
    try:
        params = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError("--params", f"{_named(source)}{where}: {_lower(error.msg)}") from None
    except (ValueError, RecursionError) as error:
        raise InputError("--params", f"{_named(source)}{error}") from None
    if not isinstance(params, dict):
        raise InputError(
            "--params",
            f"{_named(source)}must be a JSON object, not {_kind(params)}",
            fix='write them as {"name": value}',
        )
    return params


def _read(given: str) -> str:
    try:
        return Path(given).read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            "--params",
            f"{given!r} is neither a file nor a JSON object",
            fix="""name a file, or write JSON: --params '{"name": 1}'""",
        ) from None
    except UnicodeDecodeError as error:
        raise InputError("--params", f"{given}: is no UTF-8: byte {error.start}") from None
    except OSError as error:
        raise InputError("--params", f"{given[:200]}: can't be read: {error.strerror}") from None


def _named(source: str) -> str:
    return "" if source == "--params" else f"{source}: "


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _kind(value: object) -> str:
    kinds = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
