"""Commands of tracking/ and scripts/ as modules, to be called from a test."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from patrack.config import project_path


def load_command(name: str) -> ModuleType:
    """Loads a file of the project anew, for instance "tracking/test.py", without running it."""
    path = project_path(name)
    spec = importlib.util.spec_from_file_location(f"command_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where its dataclasses look it up
    spec.loader.exec_module(module)
    return module
