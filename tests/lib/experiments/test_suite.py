"""Suites: what a file says, what is wrong with one, and what experiments data stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.experiments.suite import experiments_on, find_suite, read_suite, suite_names
from patrack.config.loading import ConfigError

TEXT = """\
why: >-
  what it
  is for
seeds: [0, 2]
settings: [train.epochs=8]
sizes: {tiny: [train.lr=1e-3]}
reference: bat
variants:
  rgb: [untrained, model.streams=rgb]
  bat:
    settings: [model.method=bat]
    sizes: {tiny: [train.lr=3e-3], base: [train.lr=4e-4]}
    why: the closest
    notes: by validation
"""


def test_variants_are_settings_that_later_ones_change(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TEXT)
    suite = read_suite(tmp_path / "mine.yaml")
    assert (suite.name, suite.why, suite.seeds, suite.reference) == ("mine", "what it is for", (0, 2), "bat")
    assert suite.settings_of("rgb", "rgbt_tiny") == ["train.epochs=8", "train.lr=1e-3", "model.streams=rgb"]
    tiny = ["train.epochs=8", "train.lr=1e-3", "model.method=bat", "train.lr=3e-3"]
    assert suite.settings_of("bat", "rgbd_tiny") == tiny
    assert suite.settings_of("bat", "rgbd_base") == ["train.epochs=8", "model.method=bat", "train.lr=4e-4"]
    assert [variant.trained for variant in suite.variants.values()] == [False, True]
    assert (suite.variants["bat"].why, suite.variants["bat"].notes) == ("the closest", "by validation")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("variants: {a: [x", "1: is not valid YAML"),
        ("variants: {a: train.lr=1}", "1: variants.a must be a list of settings such as"),
        ("variants: {a: [train.lr]}", "1: variants.a: 'train.lr' is no setting key=value"),
        ("variants:\n  a: {setting: []}", "2: unknown key variants.a.setting; did you mean settings?"),
        ("variant: {a: []}", "1: unknown key variant; did you mean variants?"),
        ("variants: {a: []}\nseeds: [x]", "2: seeds must be a list of numbers from 0, got ['x']"),
        ("variants: {a: []}\nreference: b", "2: reference must be one of the variants, got 'b'"),
        ("variants: {a: []}\nsizes: {huge: []}", "2: sizes has settings by size of the model (tiny, small, base)"),
        ("variants: {a: []}\nexperiments: {rgbt_tiny: nothing}", "2: experiments.rgbt_tiny must be a data set, a list"),
        ("variants: {a: []}\nwhy: [x]", "2: why must be text"),
        ("variants:\n  a: []\n  a: []", "3: variants.a: duplicate key"),
        ("- a", "must hold keys with values"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_suite(tmp_path / "bad.yaml")
    assert problem in str(caught.value)
    assert "bad.yaml" in str(caught.value)


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("variants: {a: 1, b: [c]}\nseeds: 1\n")
    with pytest.raises(ConfigError, match="3 mistakes"):
        read_suite(tmp_path / "bad.yaml")


def test_a_variant_that_would_be_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("variants: {../a: []}\n")
    with pytest.raises(ValueError, match=r"variants name folders.*\.\./a"):
        read_suite(tmp_path / "bad.yaml")


def test_data_stand_for_experiments_of_their_size() -> None:
    pairs = {"rgbt_tiny": ("synthrgbt",), "rgbd_tiny": ("synthrgbd",), "rgbe_tiny": ("synthrgbe",)}
    assert experiments_on(["synthrgbx"]) == pairs
    assert list(experiments_on(["synthrgbx"], "small")) == ["rgbt_small", "rgbd_small", "rgbe_small"]
    assert experiments_on(["lasher", "depthtrack", "visevent"]) == {
        "rgbt_base": ("lasher",),
        "rgbd_base": ("depthtrack",),
        "rgbe_base": ("visevent",),
    }
    assert experiments_on(["lasher", "rgbt234", "lasher"]) == {"rgbt_base": ("lasher", "rgbt234")}  # trained once
    with pytest.raises(
        ValueError, match=r"unknown data set 'depthtrak' \(nearest: 'depthtrack'\); known are synthrgbx"
    ):
        experiments_on(["depthtrak"])


def test_an_unknown_suite_names_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match="did you mean 'rivals'") as caught:
        find_suite("rival")
    assert all(name in str(caught.value) for name in suite_names())
