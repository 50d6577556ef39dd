"""The one build step that pyproject.toml can't state: experiments and shipped weights go into the wheel."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
INSTALLED = (
    "experiments/*.yaml",
    "experiments/base/*.yaml",
    "experiments/suites/*.yaml",
    "weights/rgb*.safetensors",
    "weights/*.txt",
    "weights/*.md",
)
"""What `patrack.config.project_path` finds as patrack/experiments and patrack/weights in an installation."""


class BuildWithData(build_py):
    """Copy the data to where the package is built; an editable installation reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source in (path for pattern in INSTALLED for path in sorted(ROOT.glob(pattern))):
            target = Path(self.build_lib, "patrack", source.relative_to(ROOT))
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildWithData})
