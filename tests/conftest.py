"""One thread for every test and every process that a test starts: the models are so small that more only wait."""

from __future__ import annotations

import os

for _library in ("OMP", "MKL", "OPENBLAS"):  # read when torch and numpy are loaded, which comes after this file
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

import pytest  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="try twenty times as many inputs in tests/properties")
