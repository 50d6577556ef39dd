"""Reading one YAML file with the place of every key, so that a mistake can be shown where it was made.

Scalars follow the YAML 1.2 core rules: `4e-4` is a number, `yes`, `off` and `1:30` are text. Only plain data is built;
tags, anchors and duplicate keys are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["KeyPath", "Mistake", "YamlFile", "dump", "parse_value", "read"]

KeyPath = tuple[str | int, ...]  # ("data", "train", 0, "weight")


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a configuration."""

    where: str  # "experiments/rgbt.yaml:7", "override 'train.lr=x'"
    problem: str  # key, value and what was allowed

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


@dataclass
class YamlFile:
    """A file's plain data, where each key was set ("path:line"), and what was wrong with it."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


_FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf))$|\.nan$"
)
_CORE = {  # tag: (pattern, first characters)
    "null": (re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    "float": (_FLOAT, list("-+0123456789.")),
}
_TAGS = {*_CORE, "str", "seq", "map"}


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the YAML 1.2 core scalars and without anchors."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (the name PyYAML looks for)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not supported; use base:", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that also quotes text which the loader above would read as a number."""


for _tag, (_pattern, _first) in _CORE.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)


def read(path: Path) -> YamlFile:
    """Read a mapping from `path`. Whatever is wrong ends up in `mistakes`; nothing is raised for bad contents."""
    file = YamlFile()
    try:
        loader = _Loader(path.read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        if node is None:
            return file
        if not isinstance(node, yaml.MappingNode):
            file.mistakes.append(Mistake(str(path), "must hold keys with values, as in 'modality: rgbt'"))
            return file
        file.data = _construct(loader, node, (), path, file)
    except OSError as error:
        file.mistakes.append(Mistake(str(path), f"cannot be read: {error.strerror or error}"))
    except UnicodeDecodeError as error:
        file.mistakes.append(Mistake(str(path), f"is not UTF-8 text (byte {error.start})"))
    except yaml.YAMLError as error:
        file.mistakes.append(_syntax_mistake(path, error))
    return file


def _construct(loader: _Loader, node: yaml.Node, key: KeyPath, path: Path, file: YamlFile) -> Any:
    """Build the plain data of a node, and note the line of every key and list element below it."""
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] not in _TAGS:
        raise yaml.constructor.ConstructorError(None, None, f"tag {node.tag!r} is not allowed", node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, child in enumerate(node.value):
            file.origins[(*key, index)] = f"{path}:{child.start_mark.line + 1}"
            items.append(_construct(loader, child, (*key, index), path, file))
        return items
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    data: dict[str, Any] = {}
    for key_node, child in node.value:
        place = f"{path}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            file.mistakes.append(Mistake(place, "a key must be a word"))
            continue
        name = key_node.value
        here = (*key, name)
        if name in data:
            first = file.origins[here].rpartition(":")[2]
            dotted = ".".join(map(str, here))
            file.mistakes.append(Mistake(place, f"{dotted}: duplicate key, already set in line {first}"))
        file.origins[here] = place
        data[name] = _construct(loader, child, here, path, file)
    return data


def _syntax_mistake(path: Path, error: yaml.YAMLError) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error)
    return Mistake(f"{path}:{mark.line + 1}" if mark else str(path), f"is not valid YAML: {reason}")


def parse_value(text: str) -> Any:
    """Read the value of `key=value` by the rules for files: `1e-3`, `[2, 4]`, `null`, `{name: lasher}`.

    Raises:
        ValueError: if `text` is not valid YAML, with the reason.
    """
    file = YamlFile()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = None if node is None else _construct(loader, node, (), Path("value"), file)
    except yaml.YAMLError as error:
        raise ValueError(_syntax_mistake(Path("value"), error).problem) from error
    if file.mistakes:
        raise ValueError("; ".join(mistake.problem for mistake in file.mistakes))
    return value


def dump(data: dict[str, Any]) -> str:
    """Write YAML text that `read` turns back into equal data; keys stay in order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
