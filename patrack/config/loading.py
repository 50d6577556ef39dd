"""Loading experiments: YAML with `base:` inheritance and `key.sub=value` overrides into the typed schema.

    config = load("rgbt_base", ["train.lr=1e-3", "data.train.0.weight=2"])

Every mistake of a configuration is reported at once, with the file and line (or override) that set the key, the value
and what was allowed.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from patrack.config import yamlfile
from patrack.config.errors import ConfigError, explain
from patrack.config.schema import Config
from patrack.config.yamlfile import KeyPath, Mistake, YamlFile
from patrack.files import atomic_write

__all__ = ["SAVED_NAME", "ConfigError", "experiment_names", "experiments_dir", "load", "project_path", "save"]

SAVED_NAME = "config.yaml"  # the resolved configuration inside a run folder


def project_path(path: str | os.PathLike[str] = ".") -> Path:
    """`path` as it is if absolute, else relative to the project's root (where experiments/ and weights/ lie)."""
    return Path(__file__).resolve().parents[2] / Path(path).expanduser()


def experiments_dir() -> Path:
    """The folder of the project's experiments.

    Raises:
        ConfigError: if it is not there, as after an installation that is not editable.
    """
    folder = project_path("experiments")
    if not folder.is_dir():
        raise ConfigError([Mistake(str(folder), "folder not found; install the project with: pip install -e .")])
    return folder


def experiment_names() -> list[str]:
    """Names of the experiments that `load` knows, sorted."""
    return sorted(path.stem for path in experiments_dir().glob("*.yaml"))


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
    path = _find(name_or_path)
    file = _read_with_bases(path, ())
    reading = list(file.mistakes)
    file.data.setdefault("name", path.stem)
    for override in sorted(overrides, key=lambda text: not text.startswith("model.method=")):  # settings belong to it
        reading.extend(_apply(file, override))
    try:
        config = Config.model_validate(file.data)
    except ValidationError as error:
        raise ConfigError(reading + explain(error, file, path, complete=not reading), path) from None
    if reading:
        raise ConfigError(reading, path)
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
        file.write(yamlfile.dump(config.model_dump(mode="json")))
    return target


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    """The YAML file that is meant, or a ConfigError with the known names."""
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    if text and path.name == text and not path.suffix:
        named = experiments_dir() / f"{text}.yaml"
        if named.is_file():
            return named
    if text and path.is_file():
        return path
    if text and path.is_dir():
        if (path / SAVED_NAME).is_file():
            return path / SAVED_NAME
        raise ConfigError([Mistake(str(path), f"is a folder without {SAVED_NAME}, so not the folder of a run")])
    names = experiment_names()
    near = difflib.get_close_matches(path.stem, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError([Mistake(repr(text), f"no such experiment, file or run folder; {hint}known: {', '.join(names)}")])


def _read_with_bases(path: Path, chain: tuple[Path, ...]) -> YamlFile:
    """One file on top of its bases; `chain` are the files that led here, for cycles."""
    resolved = path.resolve()
    file = yamlfile.read(path)
    bases = file.data.pop("base", [])
    place = file.origins.get(("base",), str(path))
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) and base for base in bases):
        problem = f"base = {bases!r}: must be one file name or a list of them, relative to this file"
        file.mistakes.append(Mistake(place, problem, "base"))
        return file
    merged = YamlFile()
    for base in bases:
        base_path = path.parent / base
        if not base_path.is_file():
            problem = f"base = {base!r}: no such file; looked for {base_path}"
            merged.mistakes.append(Mistake(place, problem, "base"))
        elif base_path.resolve() in (*chain, resolved):
            names = " -> ".join(link.name for link in (*chain, resolved, base_path))
            merged.mistakes.append(Mistake(place, f"base = {base!r}: files inherit in a circle: {names}", "base"))
        else:
            below = _read_with_bases(base_path, (*chain, resolved))
            below.data.pop("name", None)
            _merge(merged, below)
    _merge(merged, file)
    return merged


def _merge(below: YamlFile, above: YamlFile) -> None:
    """Put `above` on top of `below`, in place: groups of keys are joined, all else (lists too) is replaced.

    A file that names another method starts from that method's own settings: those below it belong to the other one.
    """
    _forget_settings_of_another_method(below.data, above.data)
    below.data = _merged(below.data, above.data)
    below.origins.update(above.origins)
    below.mistakes.extend(mistake for mistake in above.mistakes if mistake not in below.mistakes)


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merged(below.get(key), value) for key, value in above.items()}


def _forget_settings_of_another_method(below: dict[str, Any], above: dict[str, Any]) -> None:
    old, new = below.get("model"), above.get("model")
    if (
        isinstance(old, dict)
        and isinstance(new, dict)
        and new.get("method", "") not in ("", old.get("method", "patrack"))
    ):
        old.pop("adapters", None)


def _apply(file: YamlFile, override: str) -> list[Mistake]:
    """Set one `key.sub=value`, in place; returns what is wrong with it."""
    place = f"override {override!r}"
    dotted, equals, text = override.partition("=")
    words = dotted.strip().split(".")
    if not equals or not all(words):
        return [Mistake(place, "must look like key.sub=value, for example train.lr=1e-3")]
    try:
        value = yamlfile.parse_value(text)
    except ValueError as error:
        return [Mistake(place, f"{dotted}: the value {error}", dotted)]
    if words == ["model", "method"]:
        _forget_settings_of_another_method(file.data, {"model": {"method": value}})
    mistake = _set(file.data, words, value)
    if mistake:
        return [Mistake(place, mistake, dotted)]
    key = _key_path(file.data, words)
    for length in range(1, len(key)):
        file.origins.setdefault(key[:length], place)  # groups made on the way
    file.origins[key] = place
    return []


def _set(data: dict[str, Any], words: Sequence[str], value: Any) -> str:
    """Put `value` at a dotted place, making groups on the way; returns the problem, empty if there is none."""
    node: Any = data
    for depth, word in enumerate(words):
        so_far = ".".join(words[:depth])
        last = depth == len(words) - 1
        if isinstance(node, list):
            if not (word.isascii() and word.isdigit() and int(word) < len(node)):
                return f"{so_far} is a list of {len(node)}: {word!r} must be a place in it, counted from 0"
            key: str | int = int(word)
        elif isinstance(node, dict):
            key = word
            if not last and node.get(key) is None:
                node[key] = {}
        else:
            return f"{'.'.join(words)}: {so_far} is {node!r}, which has no keys below it"
        if last:
            node[key] = value
        node = node[key]
    return ""


def _key_path(data: dict[str, Any], words: Sequence[str]) -> KeyPath:
    """The words of a key with list places as integers."""
    keys: list[str | int] = []
    node: Any = data
    for word in words:
        keys.append(int(word) if isinstance(node, list) else word)
        node = node[keys[-1]]
    return tuple(keys)
