"""What is wrong with a configuration, in words: key, value, the file that set it, what was allowed, the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from patrack.config.schema import Config, Impossible, MethodConfig
from patrack.config.yamlfile import KeyPath, Mistake, YamlFile

__all__ = ["ConfigError", "explain"]


class ConfigError(ValueError):
    """Everything that is wrong with a configuration; `mistakes` holds the single entries."""

    def __init__(self, mistakes: Sequence[Mistake], path: Path | None = None) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        head = f"{count} in the configuration" + (f" {path}" if path else "")
        super().__init__("\n".join([f"{head}:", *(f"  - {mistake}" for mistake in mistakes)]))


def explain(error: ValidationError, file: YamlFile, path: Path, *, complete: bool) -> list[Mistake]:
    """Translate pydantic's findings.

    Args:
        error: what `Config.model_validate` raised for `file.data`.
        file: merged data and where each key was set.
        path: the experiment's file, named where a key was set nowhere.
        complete: false if a part could not be read: then absent keys and combinations mean nothing and are left out.
    """
    mistakes = _translate(error, file, path, complete)
    pruned = _without_unknown(file.data, error)
    if pruned != file.data:  # combinations are only examined once no key is unknown
        try:
            Config.model_validate(pruned)
        except ValidationError as again:
            found = _translate(again, YamlFile(pruned, file.origins), path, complete)
            mistakes += [mistake for mistake in found if mistake not in mistakes]
    return mistakes


def _translate(error: ValidationError, file: YamlFile, path: Path, complete: bool) -> list[Mistake]:
    mistakes: list[Mistake] = []
    model = file.data.get("model")
    method = str(model.get("method", "patrack")) if isinstance(model, dict) else "patrack"
    for key, item in _entries(error):
        impossible = item.get("ctx", {}).get("error")
        if isinstance(impossible, Impossible):
            if complete:
                found = [(key + tuple(name.split(".")), value, rule) for name, value, rule in impossible.mistakes]
                mistakes += [_mistake(place, value, rule, file, path) for place, value, rule in found]
        elif item["type"] == "missing":
            if complete:
                mistakes.append(
                    Mistake(_origin(file, key, path), f"{_dotted(key)}: required key is missing{_about(key, method)}")
                )
        elif item["type"] == "extra_forbidden":
            mistakes.append(_mistake(key, item["input"], f"unknown key; {_nearest(key, method)}", file, path))
        else:
            mistakes.append(_mistake(key, item["input"], _allowed(item) + _about(key, method), file, path))
    return mistakes


def _entries(error: ValidationError, prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Pydantic's entries with their keys; those of a method's settings, which are validated apart, among them."""
    for item in error.errors(include_url=False):
        key, inner = (*prefix, *item["loc"]), item.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            yield from _entries(inner, key)
        else:
            yield key, item


def _mistake(key: KeyPath, value: Any, rule: str, file: YamlFile, path: Path) -> Mistake:
    return Mistake(_origin(file, key, path), f"{_dotted(key)} = {_short(value)}: {rule}", _dotted(key))


def _allowed(item: Any) -> str:
    """What a value of this key must be."""
    if item["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return "must be a group of keys"
    if item["type"] in ("bool_type", "bool_parsing"):
        return "must be true or false"
    return item["msg"].replace("Input should be", "must be")


def _dotted(key: KeyPath) -> str:
    return ".".join(map(str, key))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _origin(file: YamlFile, key: KeyPath, path: Path) -> str:
    """Where the key, or the group that should hold it, was set."""
    for length in range(len(key), 0, -1):
        if key[:length] in file.origins:
            return file.origins[key[:length]]
    return str(path)


def _without_unknown(data: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """A copy of the data without the keys the schema does not know."""
    unknown = {key for key, item in _entries(error) if item["type"] == "extra_forbidden"}

    def copy(node: Any, key: KeyPath) -> Any:
        if isinstance(node, dict):
            return {word: copy(child, (*key, word)) for word, child in node.items() if (*key, word) not in unknown}
        if isinstance(node, list):
            return [copy(child, (*key, index)) for index, child in enumerate(node)]
        return node

    return copy(data, ())


def _nearest(key: KeyPath, method: str) -> str:
    """The most likely meaning of an unknown key, and what its group knows."""
    section = _section(key[:-1], method)
    known = list(section.model_fields) if section else []
    near = difflib.get_close_matches(str(key[-1]), known, n=1)
    if near:
        return f"did you mean {_dotted((*key[:-1], near[0]))}?"
    everywhere = {dotted.rpartition(".")[2]: dotted for dotted in reversed(_all_keys(Config, method))}
    near = difflib.get_close_matches(str(key[-1]), list(everywhere), n=1, cutoff=0.8)
    hint = f"did you mean {everywhere[near[0]]}? " if near else ""
    return f"{hint}known here: {', '.join(known)}"


def _about(key: KeyPath, method: str) -> str:
    """The schema's remark on a key, in brackets."""
    section = _section(key[:-1], method)
    field = section.model_fields.get(str(key[-1])) if section else None
    return f" ({field.description})" if field is not None and field.description else ""


def _section(key: KeyPath, method: str) -> type[BaseModel] | None:
    """The schema class of the group at a key."""
    section: type[BaseModel] | None = Config
    for word in key:
        if isinstance(word, int):
            continue
        field = section.model_fields.get(word) if section else None
        section = _class_of(field, method) if field is not None else None
    return section


def _class_of(field: FieldInfo, method: str) -> type[BaseModel] | None:
    """The group a field holds, directly or in a list; that of the method's settings is the method's own."""
    from patrack.methods import METHODS

    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return METHODS[method].Config if kind is MethodConfig and method in METHODS else kind
    return None


def _all_keys(section: type[BaseModel], method: str, prefix: str = "") -> list[str]:
    """Dotted names of every key that is not a group."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        below = _class_of(field, method)
        in_list = below is not None and field.annotation is not below
        keys += _all_keys(below, method, f"{prefix}{name}.{'0.' if in_list else ''}") if below else [prefix + name]
    return keys
