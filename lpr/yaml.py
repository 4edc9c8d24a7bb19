"""YAML as people mean it: `1e-4` is a number, `no` and `00420` stay text, errors name file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from .types import InputError

_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
# A leading zero makes it text: YAML 1.1 would read 00420 as the octal number 272.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$")
_ZERO_PADDED = re.compile(r"[-+]?0[0-9]+$")
# A licence plate such as 1E10 is text; 1e-4 is a number. Upper-case E without sign or point stays text.
_PLATE_LIKE = re.compile(r"[0-9]+E[0-9]+$")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """SafeLoader with the YAML 1.2 core schema's scalars."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("str", _ZERO_PADDED, "-+0"),
    ("str", _PLATE_LIKE, "0123456789"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    mapping: dict[Any, Any] = yaml.SafeLoader.construct_mapping(loader, node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def parse(text: str, where: object) -> Any:
    """Parse YAML text; `where` names its origin in errors."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"is not valid YAML: {what}", where=f"{where}{line}") from error


def load(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping of names to values."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError("no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=path) from error
    value = parse(text, path)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError("must hold `name: value` lines at its top level", where=path)
    return value
