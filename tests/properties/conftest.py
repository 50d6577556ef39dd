"""How many examples are tried, and how much memory one may take.

By default a minute in all, always the same examples; with `--long` twenty times as many, others each time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

MEMORY = 2**30
"""Bytes that a test may take beyond what is taken when it starts."""

_always = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.large_base_example,
    ],
}
settings.register_profile("short", max_examples=100, derandomize=True, **_always)
settings.register_profile("long", max_examples=2000, **_always)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "short")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        for item in items:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(autouse=True)
def limited_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Turn a blow-up of memory into an error of the example that makes it; not with the mark `native_reader`."""
    resource = pytest.importorskip("resource", reason="limits of memory need a POSIX system")
    status = Path("/proc/self/statm")
    if not status.is_file() or request.node.get_closest_marker("native_reader"):
        yield
        return
    taken = int(status.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for all examples of a test, whose names tests choose: in memory where there is such a place."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as path:
        yield Path(path)
