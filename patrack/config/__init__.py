"""Experiments: their schema, and loading them from YAML."""

from patrack.config.loading import (
    SAVED_NAME,
    ConfigError,
    experiment_names,
    experiment_path,
    experiments_dir,
    load,
    project_path,
    save,
)
from patrack.config.schema import Config

__all__ = [
    "SAVED_NAME",
    "Config",
    "ConfigError",
    "experiment_names",
    "experiment_path",
    "experiments_dir",
    "load",
    "project_path",
    "save",
]
