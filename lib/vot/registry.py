"""`trackers.ini` of a VOT workspace: how the toolkit starts our tracker."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.datasets.parsing import read_text
from lib.vot.server import channels_of
from patrack.build import UNTRAINED, find_checkpoint
from patrack.config import experiment_names, load, project_path
from patrack.files import atomic_write

__all__ = ["REGISTRY", "RegistryError", "registry_with", "tracker_command", "write_registry"]

REGISTRY = "trackers.ini"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


class RegistryError(ValueError):
    """A tracker that can't be registered; the message says why and what to do."""


def tracker_command(
    config: str,
    checkpoint: str | None = None,
    device: str | None = None,
    clip_depth: bool = True,
    overrides: Sequence[str] = (),
    interpreter: str | None = None,
) -> list[str]:
    """The command that the toolkit starts, from any folder: every path in it is absolute.

    Args:
        config: experiment, YAML file or run folder.
        checkpoint: see `patrack.build.build_tracker`.
        device: a torch device; None: chosen when it starts.
        clip_depth: see `patrack.modality.x_to_three_channels`.
        overrides: `key=value` settings.
        interpreter: Python of the environment that has PATrack and vot-trax; None: this one.

    Raises:
        ConfigError, WeightsError, ValueError: an experiment or weights that can't be used.
        RegistryError: no such interpreter.
    """
    settings = load(config, overrides)
    channels_of(settings)
    weights = find_checkpoint(settings, checkpoint, has_adapters=settings.model.streams != "rgb")
    if weights is not None and not weights.is_file():
        raise RegistryError(
            f"--checkpoint {checkpoint}: no such file; give a weights file, a run folder or {UNTRAINED}"
        )
    python = Path(os.path.abspath(interpreter or sys.executable))  # noqa: PTH100  (a venv's link must not be resolved)
    if not python.is_file():
        raise RegistryError(f"--interpreter {interpreter}: no such file; give the Python that has PATrack installed")
    command = [str(python), str(project_path("tracking/vot.py"))]
    command += ["--config", config if config in experiment_names() else str(Path(config).expanduser().resolve())]
    if checkpoint is not None:
        command += [
            "--checkpoint",
            UNTRAINED if checkpoint == UNTRAINED else str(Path(checkpoint).expanduser().resolve()),
        ]
    command += ["--device", device] if device else []
    return [*command, *([] if clip_depth else ["--no-clip-depth"]), *overrides]


def registry_with(workspace: Path, name: str, command: Sequence[str], timeout: int = 3600) -> str:
    """`trackers.ini` with a tracker added, or its entry renewed; other entries stay as they are. Nothing is written.

    Args:
        workspace: its folder, which need not exist.
        name: of the tracker, and of its folder below results/.
        command: see `tracker_command`.
        timeout: seconds that the toolkit waits for an answer; its own default is 30, too short for reading weights.

    Raises:
        RegistryError: a bad name or file, or results that another command has made under this name.
    """
    if not NAME.fullmatch(name):
        raise RegistryError(f"--name must be letters, digits and _, got {name!r}")
    path = workspace / REGISTRY
    text = read_text(path) if path.is_file() else ""
    found = configparser.ConfigParser()
    try:
        found.read_string(text)
    except configparser.Error as error:
        raise RegistryError(f"{path}: {error}") from error
    line = shlex.join(command)
    before = found.get(name, "command", fallback=line)
    results = workspace / "results" / name
    if before != line and results.is_dir() and any(results.rglob("*.*")):
        raise RegistryError(
            f"{results} holds results of\n  {before}\nwhich the toolkit would mix with those of\n  {line}\n"
            "choose another --name, or move that folder away"
        )
    entry = {
        "label": name,
        "protocol": "trax",
        "command": line,
        "timeout": str(timeout),
        "env_pythonpath": str(project_path()),
    }
    section = "".join(f"{key} = {value.replace('%', '%%')}\n" for key, value in entry.items())
    return _without(text, name) + f"[{name}]\n{section}"


def write_registry(workspace: Path, text: str) -> None:
    """Write `trackers.ini` of a workspace.

    Raises:
        OSError: it can't be written.
    """
    with atomic_write(workspace / REGISTRY) as file:
        file.write(text)


def _without(text: str, name: str) -> str:
    """`trackers.ini` without one section, ending in a blank line if anything is left."""
    kept, inside = [], False
    for line in text.splitlines():
        header = re.match(r"\s*\[(.+?)\]", line)
        inside = header[1] == name if header else inside
        if not inside:
            kept.append(line)
    remaining = "\n".join(kept).strip("\n")
    return f"{remaining}\n\n" if remaining else ""
