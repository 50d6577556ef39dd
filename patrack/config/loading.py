"""Loading experiments: YAML with `base:` inheritance and `key.sub=value` overrides into the typed schema.

    config = load("rgbt_base", ["train.lr=1e-3", "data.train.0.weight=2"])

Every mistake of a configuration is reported at once, with the file and line (or override) that set the key, the value
and what was allowed. Scalars follow the YAML 1.2 core rules: `4e-4` is a number, `yes`, `off` and `1:30` are text. Only
plain data is built; tags, anchors and duplicate keys are refused.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from patrack.config.schema import Config, Impossible, MethodConfig
from patrack.files import atomic_write, user_path

__all__ = [
    "RENAMED",
    "SAVED_NAME",
    "ConfigError",
    "experiment_names",
    "experiment_path",
    "experiments_dir",
    "from_data",
    "load",
    "project_path",
    "save",
    "with_new_names",
]

RENAMED = {
    "foundation": "base_model",
    "foundation_file": "base_model_file",
    "foundation_sha256": "base_model_sha256",
}
"""Earlier keys of experiments, weights files, checkpoints and manifests, which are still read: their names today."""
SAVED_NAME = "config.yaml"  # the resolved configuration inside a run folder
_PACKAGE = Path(__file__).resolve().parents[1]


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


class ConfigError(ValueError):
    """Everything that is wrong with a configuration; `mistakes` holds the single entries."""

    def __init__(self, mistakes: Sequence[Mistake], path: Path | None = None) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        head = f"{count} in the configuration" + (f" {path}" if path else "")
        super().__init__("\n".join([f"{head}:", *(f"  - {mistake}" for mistake in mistakes)]))


def with_new_names(content: Any) -> Any:
    """Bring what an earlier version wrote up to date: nested dictionaries, with the keys in `RENAMED` renamed."""
    if not isinstance(content, dict):
        return content
    return {RENAMED.get(key, key): with_new_names(value) for key, value in content.items()}


# --- files


def project_path(path: str | os.PathLike[str] = ".") -> Path:
    """Complete a relative path, such as `weights/rgb_tiny.safetensors`; an absolute one stays as it is.

    In a checkout it starts at the project's root. An installed package carries the experiments and the shipped weights
    inside itself; what isn't among them is taken from the current folder.
    """
    path = user_path(path)
    if not (_PACKAGE / "experiments").is_dir():
        return _PACKAGE.parent / path
    return _PACKAGE / path if (_PACKAGE / path).exists() else Path.cwd() / path


def experiments_dir() -> Path:
    """Folder of the project's experiments.

    Raises:
        ConfigError: it isn't there.
    """
    folder = project_path("experiments")
    if not folder.is_dir():
        raise ConfigError([Mistake(str(folder), "folder not found; install the project again: pip install .")])
    return folder


def experiment_names() -> list[str]:
    """Names of the experiments that `load` knows, sorted."""
    return sorted(path.stem for path in experiments_dir().glob("*.yaml"))


def experiment_path(name_or_path: str | os.PathLike[str]) -> Path:
    """The YAML file that `load` reads for this name, file or run folder.

    Raises:
        ConfigError: there is no such experiment, file or run folder; lists the known names.
    """
    text = os.fspath(name_or_path)
    try:
        path = user_path(text)
    except ValueError as error:
        raise ConfigError([Mistake(repr(text), str(error))]) from None
    if text and path.name == text and not path.suffix:
        named = experiments_dir() / f"{text}.yaml"
        if _is_file(named):
            return named
    if text and _is_file(path):
        return path
    if text and os.path.isdir(path):  # noqa: PTH112 (as in `_is_file`)
        if (path / SAVED_NAME).is_file():
            return path / SAVED_NAME
        raise ConfigError([Mistake(str(path), f"is a folder without {SAVED_NAME}, so not the folder of a run")])
    names = experiment_names()
    near = difflib.get_close_matches(path.stem, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError([Mistake(repr(text), f"no such experiment, file or run folder; {hint}known: {', '.join(names)}")])


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 (pathlib raises for a name that is too long for any file)


# --- one YAML file, with the place of every key, so that a mistake can be shown where it was made


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
    """A SafeDumper that also quotes text which the loader above would read as a number, or as a line end."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)

for _tag, (_pattern, _first) in _CORE.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)


def read_yaml(path: Path) -> YamlFile:
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
    except RecursionError:
        file.mistakes.append(Mistake(str(path), "is nested too deeply"))
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
        try:
            return loader.construct_object(node)
        except ValueError as error:  # a number of thousands of digits
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error
    data: dict[str, Any] = {}
    for key_node, child in node.value:
        place = f"{path}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            file.mistakes.append(Mistake(place, "a key must be a word"))
            continue
        name: str = key_node.value
        name = RENAMED.get(name, name)
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
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    if file.mistakes:
        raise ValueError("; ".join(mistake.problem for mistake in file.mistakes))
    return value


def dump_yaml(data: dict[str, Any]) -> str:
    """Write YAML text that `read_yaml` turns back into equal data; keys stay in order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


# --- loading and saving


def load(name_or_path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Read an experiment.

    Args:
        name_or_path: a name in experiments/ (`"rgbt_base"`), a YAML file, or a run folder that holds `config.yaml`. A
            plain word is looked up in experiments/ first; write `./word` for a folder of that name.
        overrides: `key.sub=value`; the value is read as YAML, a number in the key is a place in a list.

    Returns:
        The checked configuration; `config.name` is the file's own `name`, else its stem.

    Raises:
        ConfigError: lists everything that is wrong; also if there is no such experiment, file or folder.
    """
    path = experiment_path(name_or_path)
    file = _read_with_bases(path, ())
    file.data.setdefault("name", path.stem)
    return _checked(file, path, overrides)


def from_data(data: dict[str, Any], source: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Make an experiment of what a file of weights states about it; for the rest see `load`.

    Args:
        data: groups of keys, as in an experiment's YAML file.
        source: named in errors.
        overrides: as for `load`.

    Raises:
        ConfigError: lists everything that is wrong.
    """
    return _checked(YamlFile(data=with_new_names(copy.deepcopy(data))), Path(source), overrides)


def _checked(file: YamlFile, path: Path, overrides: Iterable[str]) -> Config:
    for override in sorted(overrides, key=lambda text: not text.startswith("model.method=")):  # its settings come after
        _override(file, override)
    try:
        config = Config.model_validate(file.data)
    except ValidationError:
        raise ConfigError(file.mistakes + _explain(file, path), path) from None
    if file.mistakes:
        raise ConfigError(file.mistakes, path)
    return config


def save(config: Config, path: str | os.PathLike[str]) -> Path:
    """Write every key of `config` to a YAML file that `load` turns back into an equal configuration.

    Args:
        config: what to write.
        path: a file, or an existing folder, which then gets `config.yaml`.

    Returns:
        The file written.

    Raises:
        OSError: if it cannot be written; names the path.
    """
    target = Path(path)
    if target.is_dir():
        target = target / SAVED_NAME
    with atomic_write(target) as file:
        file.write("# The complete configuration of a run. Run it again with: --config <this file or its folder>\n")
        file.write(dump_yaml(config.model_dump(mode="json")))
    return target


def _read_with_bases(path: Path, chain: tuple[Path, ...]) -> YamlFile:
    """Read a file on top of its bases; `chain` holds the files that led here, so that a circle is noticed."""
    resolved = path.resolve()
    file = read_yaml(path)
    bases = file.data.pop("base", [])
    place = file.origins.get(("base",), str(path))
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) and base for base in bases):
        problem = f"base = {bases!r}: must be one file name or a list of them, relative to this file or to experiments/"
        file.mistakes.append(Mistake(place, problem))
        return file

    layers = []  # from the lowest to the highest
    for base in bases:
        try:
            base_file = user_path(base)
        except ValueError as error:
            layers.append(YamlFile(mistakes=[Mistake(place, f"base = {base!r}: {error}")]))
            continue
        # beside the file, or one of the project's experiments by file or name
        places = [path.parent / base_file, experiments_dir() / base_file, experiments_dir() / f"{base_file}.yaml"]
        base_path = next((place for place in places if _is_file(place)), None)
        if base_path is None:
            problem = f"base = {base!r}: no such file; looked for {', '.join(map(str, dict.fromkeys(places)))}"
            layers.append(YamlFile(mistakes=[Mistake(place, problem)]))
        elif base_path.resolve() in (*chain, resolved):
            names = " -> ".join(link.name for link in (*chain, resolved, base_path))
            problem = f"base = {base!r}: files inherit in a circle: {names}"
            layers.append(YamlFile(mistakes=[Mistake(place, problem)]))
        else:
            layers.append(_read_with_bases(base_path, (*chain, resolved)))
            layers[-1].data.pop("name", None)

    merged = YamlFile()
    for layer in (*layers, file):
        _forget_another_method(merged.data, layer.data)
        merged.data = _merge(merged.data, layer.data)
        merged.origins |= layer.origins
        merged.mistakes += [mistake for mistake in layer.mistakes if mistake not in merged.mistakes]
    return merged


def _merge(below: Any, above: Any) -> Any:
    """Put one value on top of another: groups of keys are joined, all else (lists too) is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merge(below.get(key), value) for key, value in above.items()}


def _forget_another_method(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Drop the settings of a method where another one is named on top of it: they would mean nothing there."""
    old, new = below.get("model"), above.get("model")
    if isinstance(old, dict) and isinstance(new, dict) and "method" in new:
        if new["method"] != old.get("method", "patrack"):
            old.pop("adapters", None)


def _override(file: YamlFile, override: str) -> None:
    """Set one `key.sub=value` in place, making groups on the way; what is wrong with it joins `file.mistakes`."""

    def refuse(problem: str) -> None:
        file.mistakes.append(Mistake(place, problem))

    place = f"override {override!r}"
    dotted, equals, text = override.partition("=")
    words = [RENAMED.get(word, word) for word in dotted.strip().split(".")]
    if not equals or not all(words):
        return refuse("must look like key.sub=value, for example train.lr=1e-3")
    try:
        value = parse_value(text)
    except ValueError as error:
        return refuse(f"{dotted}: the value {error}")

    if words == ["model", "method"]:
        _forget_another_method(file.data, {"model": {"method": value}})
    node: Any = file.data
    key: KeyPath = ()
    for depth, word in enumerate(words, start=1):
        above = ".".join(words[: depth - 1])
        if isinstance(node, list):
            if not (word.isascii() and word.isdigit() and int(word) < len(node)):
                return refuse(f"{above} is a list of {len(node)}: {word!r} must be a place in it, counted from 0")
            key += (int(word),)
        elif isinstance(node, dict):
            key += (word,)
        else:
            return refuse(f"{'.'.join(words)}: {above} is {node!r}, which has no keys below it")
        if depth == len(words):
            node[key[-1]] = value
        elif isinstance(node, dict) and node.get(word) is None:
            node[word] = {}
        file.origins.setdefault(key, place)
        node = node[key[-1]]
    file.origins[key] = place


# --- what is wrong with a configuration, in words


def _explain(file: YamlFile, path: Path) -> list[Mistake]:
    """Translate pydantic's findings on `file.data`.

    Where a part could not be read, absent keys and combinations mean nothing and are left out.

    Args:
        file: merged data, where each key was set, and what couldn't be read.
        path: the experiment's file, named where a key was set nowhere.
    """
    complete = not file.mistakes
    model = file.data.get("model")
    fields = _fields(Config, str(model.get("method")) if isinstance(model, dict) else "")
    mistakes: list[Mistake] = []
    data = copy.deepcopy(file.data)
    unknown = True
    while unknown:  # pydantic examines combinations only once no key is unknown
        try:
            Config.model_validate(data)
            return mistakes
        except ValidationError as error:
            items = _entries(error)
        unknown = False
        for key, item in items:
            kind, said = item["type"], item["msg"].removeprefix("Value error, ")
            field = fields.get(_without_places(key))
            about = f" ({field.description})" if field is not None and field.description else ""
            broken: list[tuple[KeyPath, object, str]]
            impossible = item.get("ctx", {}).get("error")
            if isinstance(impossible, Impossible):
                broken = [((*key, *name.split(".")), value, rule) for name, value, rule in impossible.mistakes]
            elif kind == "extra_forbidden":
                broken = [(key, item["input"], f"unknown key; {_nearest(key, fields)}")]
                unknown = True
                group: Any = data
                for word in key[:-1]:
                    group = group[word]
                del group[key[-1]]
            elif kind in ("model_type", "dict_type", "model_attributes_type"):
                broken = [(key, item["input"], f"must be a group of keys{about}")]
            elif kind in ("bool_type", "bool_parsing"):
                broken = [(key, item["input"], f"must be true or false{about}")]
            else:
                broken = [(key, item["input"], said.replace("Input should be", "must be") + about)]
            if not complete and (isinstance(impossible, Impossible) or kind == "missing"):
                continue

            for place, value, rule in broken:
                shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
                text = f"{'.'.join(map(str, place))} = {shown}: {rule}"
                if kind == "missing":
                    text = f"{'.'.join(map(str, place))}: required key is missing{about}"
                # the file that set the key, or the nearest group around it
                groups = [place[:length] for length in range(len(place), 0, -1)]
                origin = next((file.origins[group] for group in groups if group in file.origins), str(path))
                mistake = Mistake(origin, text)
                if mistake not in mistakes:
                    mistakes.append(mistake)
    return mistakes


def _entries(error: ValidationError, prefix: KeyPath = ()) -> list[tuple[KeyPath, Any]]:
    """List pydantic's entries by key, those of a method's settings, which are validated apart, among them."""
    entries: list[tuple[KeyPath, Any]] = []
    for item in error.errors(include_url=False):
        key, inner = (*prefix, *item["loc"]), item.get("ctx", {}).get("error")
        entries += _entries(inner, key) if isinstance(inner, ValidationError) else [(key, item)]
    return entries


def _nearest(key: KeyPath, fields: dict[KeyPath, FieldInfo]) -> str:
    """Name the most likely meaning of an unknown key, and what its group knows."""
    from patrack.methods import METHODS  # only here, since they need PyTorch

    group = _without_places(key[:-1])
    known = [str(other[-1]) for other in fields if other[:-1] == group]
    near = difflib.get_close_matches(str(key[-1]), known, n=1)
    if near:
        return f"did you mean {'.'.join(map(str, (*key[:-1], near[0])))}?"
    everywhere = {str(other[-1]): ".".join(map(str, other)) for other in reversed(fields)}
    near = difflib.get_close_matches(str(key[-1]), list(everywhere), n=1, cutoff=0.8)
    hint = f"did you mean {everywhere[near[0]]}? " if near else ""
    owners = [
        method
        for method, network in METHODS.items()
        if group == ("model", "adapters") and key[2] in network.Config.model_fields
    ]
    if owners:
        hint += f"it is a setting of model.method={' or '.join(owners)}; "
    return f"{hint}known here: {', '.join(known) or 'none'}"


def _fields(section: type[BaseModel], method: str, prefix: KeyPath = ()) -> dict[KeyPath, FieldInfo]:
    """List every key of the schema, groups and the method's settings too; place 0 stands for any place in a list."""
    from patrack.methods import METHODS  # only here, since they need PyTorch

    fields: dict[KeyPath, FieldInfo] = {}
    for name, info in section.model_fields.items():
        key = (*prefix, name)
        fields[key] = info
        for kind, place in ((info.annotation, ()), *((kind, (0,)) for kind in get_args(info.annotation))):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                settings = METHODS.get(method, METHODS["patrack"]).Config
                fields |= _fields(settings if kind is MethodConfig else kind, method, (*key, *place))
    return fields


def _without_places(key: KeyPath) -> KeyPath:
    return tuple(0 if isinstance(word, int) else word for word in key)
