"""Experiments: their schema, and loading them from YAML."""

from patrack.config.loading import (
    RENAMED,
    SAVED_NAME,
    ConfigError,
    experiment_names,
    experiment_path,
    experiments_dir,
    from_data,
    load,
    project_path,
    save,
    with_new_names,
)
from patrack.config.schema import Config

__all__ = [
    "RENAMED",
    "SAVED_NAME",
    "Config",
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
