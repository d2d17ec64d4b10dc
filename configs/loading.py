"""Typed configuration: defaults < one YAML recipe < ``--set key=value`` < named flags.

A recipe is a YAML mapping whose keys are the fields of a frozen pydantic model that stands beside the
code that reads it. A wrong key or type stops the program with one line that names the file or the flag
and the key, and offers the nearest right one. ``${NAME}`` in a string is an environment variable.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from configs.commands import UserError, did_you_mean

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Config(BaseModel):
    """Base of all configuration: immutable, unknown keys are errors, ``1e-3`` may be a YAML string."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ConfigType = TypeVar("ConfigType", bound=Config)


def load_config(
    model: type[ConfigType],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> ConfigType:
    """Read, merge and check a configuration.

    Args:
      model: the class of the configuration.
      path: a YAML file, or None for the defaults.
      overrides: ``key=value`` texts of ``--set``; keys are dotted, values are YAML.
      flags: dotted key → value of named flags; None means that the flag was not given.

    Raises:
      UserError: the file, a key or a value is wrong.
    """
    values = read_yaml(path) if path else {}
    sources: dict[tuple[str, ...], str] = {}
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise UserError(f"--set {text}: expected key=value, such as --set train.epochs=2")
        _put(values, key.strip(), _parse_yaml(value, f"--set {text}"), f"--set {text}", sources)
    for key, value in (flags or {}).items():
        if value is not None:
            _put(values, key, value, f"--{key.rsplit('.', 1)[-1].replace('_', '-')}", sources)
    try:
        return model.model_validate(_expand(values, (), str(path), sources))
    except ValidationError as error:
        raise UserError(_explain(error, model, str(path or model.__name__), sources)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises `UserError` when the file is missing, broken or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = [str(other) for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file{did_you_mean(str(path), beside)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    values = _parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: expected 'key: value' lines, found {type(values).__name__}")
    return values


def dump_yaml(config: Config) -> str:
    """A configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def differences(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key → (old, new) for all leaves in which two dumped configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*old, *(key for key in new if key not in old)]:
            found |= differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return found
    return {} if old == new else {prefix.rstrip("."): (old, new)}


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}: not YAML{place} ({getattr(error, 'problem', None) or error})") from None


def _put(values: dict[str, Any], key: str, value: Any, source: str, sources: dict[tuple[str, ...], str]) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[last] = value
    sources[(*parents, last)] = source


def _expand(value: Any, place: tuple[str, ...], source: str, sources: Mapping[tuple[str, ...], str]) -> Any:
    """Replace ``${NAME}`` in all strings of a tree."""
    if isinstance(value, dict):
        return {key: _expand(item, (*place, str(key)), source, sources) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, place, source, sources) for item in value]
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if name not in os.environ:
            origin = _origin(place, source, sources)
            raise UserError(f"{origin}: '{value}' needs the environment variable {name}, which is not set")
    return _VARIABLE.sub(lambda match: os.environ[match[1]], value)


def _explain(error: ValidationError, model: type[Config], source: str, sources: Mapping[tuple[str, ...], str]) -> str:
    """The first of pydantic's errors as one line."""
    first = error.errors(include_url=False)[0]
    place = tuple(str(part) for part in first["loc"])
    origin = _origin(place, source, sources)
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        fields = _fields_at(model, place[:-1])
        hint = did_you_mean(place[-1], fields) or f"; known here: {', '.join(fields)}"
        return f"{origin}: unknown key '{key}'{hint}"
    if first["type"] == "union_tag_invalid":
        tag, known = str(first["ctx"]["tag"]), re.findall(r"'([^']*)'", first["ctx"]["expected_tags"])
        key, hint = f"{key}.{first['ctx']['discriminator'].strip(chr(39))}", did_you_mean(tag, known)
        return f"{origin}: {key} = {tag!r}: there is none of this name{hint or '; there are ' + ', '.join(known)}"
    if first["type"] == "union_tag_not_found":
        return f"{origin}: '{key}.{first['ctx']['discriminator'].strip(chr(39))}' is missing"
    if first["type"] == "missing":
        return f"{origin}: '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not key:  # of several keys, of which the message names the first
        return f"{_origin(tuple(message.partition(':')[0].split('.')), source, sources)}: {message}"
    return f"{origin}: {key} = {first['input']!r}: {message[:1].lower()}{message[1:]}"


def _origin(place: tuple[str, ...], source: str, sources: Mapping[tuple[str, ...], str]) -> str:
    """The flag that set a key, a part of it or what it is a part of; else the file."""
    above = (sources[place[:n]] for n in range(len(place), 0, -1) if place[:n] in sources)
    inside = (origin for key, origin in sources.items() if key[: len(place)] == place)
    return next(above, None) or next(inside, source)


def _fields_at(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Names of the fields of the model that stands at a place of the tree."""
    current = [model]
    for part in place:
        if part.isdecimal():  # an element of a list has the list's own type here
            continue
        fields = [kind.model_fields[part] for kind in current if part in kind.model_fields]
        # What is no field is the name by which one of several models was chosen.
        current = [kind for field in fields for kind in _models(field.annotation)] or [
            kind for kind in current if any(part in typing.get_args(f.annotation) for f in kind.model_fields.values())
        ]
    return list(dict.fromkeys(name for kind in current for name in kind.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation: itself, the alternatives of ``X | Y``, the elements of ``tuple[X, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models(inner)]
