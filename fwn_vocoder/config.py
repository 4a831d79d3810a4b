"""Strict, typed configuration: the only module that reads or writes YAML.

Conventions: unknown keys, duplicate keys and wrong types are errors; all errors of a file are
reported together; ``1e-3`` is a number (YAML 1.1 would read it as a string).
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fwn_vocoder.errors import ConfigError


class Config(BaseModel):
    """Base of all configurations: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Config)


class _StrictLoader(yaml.SafeLoader):
    """``yaml.SafeLoader`` with YAML 1.2 floats and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not a scalar", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_FLOAT_1_2 = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
)
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT_1_2, list("-+0123456789."))


def parse_yaml(text: str, origin: str) -> dict[str, Any]:
    """Parse one YAML mapping; ``origin`` names the text in error messages.

    Raises:
        ConfigError: the text is not YAML, repeats a key, or is not a mapping.
    """
    try:
        data = _StrictLoader(text).get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{origin}: not a valid YAML file: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{origin}: expected a mapping of settings (key: value), found {type(data).__name__}"
        )
    return data


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML mapping from a file.

    Raises:
        ConfigError: as :func:`parse_yaml`, or the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error}") from error
    return parse_yaml(text, str(path))


def write_yaml(path: str | Path, data: dict[str, Any]) -> None:
    """Write a mapping as YAML, atomically, keys in the given order."""
    from fwn_vocoder.files import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(dump_yaml(data), encoding="utf-8")


def dump_yaml(data: dict[str, Any]) -> str:
    """Format a mapping as YAML, keys in the given order."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _suggestion(key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} Allowed: {', '.join(sorted(allowed))}"


def _allowed_keys(model: type[BaseModel], location: tuple) -> list[str]:
    """Return the keys that are legal at ``location`` inside ``model``."""
    for step in location:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)


def validate(model: type[ConfigT], data: dict[str, Any], origin: str) -> ConfigT:
    """Build a configuration from a mapping; report every error of it at once.

    Raises:
        ConfigError: unknown keys (with the closest legal one), wrong types or values.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = ".".join(str(step) for step in item["loc"]) or "(top level)"
            if item["type"] == "extra_forbidden":
                allowed = _allowed_keys(model, item["loc"][:-1])
                lines.append(f"{key}: unknown key{_suggestion(str(item['loc'][-1]), allowed)}")
            else:
                lines.append(f"{key}: {item['msg']} (given: {item['input']!r})")
        raise ConfigError(f"{origin}: " + "\n  ".join(["", *lines]).strip()) from error
