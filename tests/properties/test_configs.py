"""Experiments and settings in YAML and JSON: written and read back; anything else is refused with file and line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import patrack.methods  # noqa: F401 (loads torch, which takes memory and opens files)
from hostile import WORDS, any_bytes, any_text, any_text_file, only_reads
from lib.datasets.missing import read_masks
from lib.datasets.recordings import folder_data_set
from patrack.config import ConfigError, load
from patrack.config.loading import dump_yaml, parse_value, read_yaml
from patrack.recordings.options import read_transform
from patrack.recordings.sequence import DataError
from small_models import EXPERIMENT

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=12),
    st.sampled_from(["1e-3", "yes", "off", "1:30", "0o17", "1_000", "null", "~", ".inf", "2026-05-01", "<<", "="]),
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
SETTINGS = "modality: rgbt\nmin_size: 2.5\nbox_step: 10\nx_range: [0, 255]\nfps: 25\nx_transform: resize\n"
BASED = "base: [rgbt_tiny]\nname: mine\nmodel:\n  depth: 2\n  adapters:\n    cea: {layers: [1]}\ntrain:\n  lr: 1e-3\n"
KEYS = (
    "train.lr",
    "data.train.0.weight",
    "model.adapters.cea.layers",
    "model",
    "model.method",
    "name",
    "data.train",
    "a.b",
)


@given(data=st.dictionaries(st.text(max_size=6), trees, max_size=4))
def test_plain_data_read_back_as_written(data, folder):
    path = folder / "a.yaml"
    path.write_text(dump_yaml(data), encoding="utf-8", newline="")
    file = read_yaml(path)
    expected = {{"foundation": "base_model"}.get(key, key): value for key, value in data.items()}
    assert not file.mistakes
    assert file.data == expected
    assert [type(value) for value in file.data.values()] == [type(value) for value in expected.values()]


@given(text=any_text_file(EXPERIMENT, BASED, SETTINGS))
def test_any_yaml_file_is_an_experiment_or_refused_with_file_and_line(text, folder):
    path = folder / "mine.yaml"
    path.write_bytes(text)
    with only_reads():
        try:
            config = load(path)
        except ConfigError as error:
            assert str(path) in str(error)
            assert error.mistakes
            assert all(mistake.where for mistake in error.mistakes)
            return
    assert config == load(path)


@given(text=any_text(SETTINGS, "[2, 4]", "{name: lasher}", "1e-3"))
def test_any_value_of_an_override_is_read_or_refused(text):
    with only_reads():
        try:
            value = parse_value(text)
        except ValueError as error:
            assert type(error) is ValueError
            assert str(error)
            return
    assert value is None or type(value) in (bool, int, float, str, list, dict)


@settings(max_examples=settings.default.max_examples // 4)
@given(
    overrides=st.lists(
        st.tuples(st.sampled_from(KEYS), any_text("1e-3", "[1]", "{}", "patrack")).map("=".join), max_size=3
    )
)
def test_any_overrides_give_an_experiment_or_are_refused_by_name(overrides):
    try:
        load("rgbt_tiny", overrides)
    except ConfigError as error:
        assert error.mistakes


@settings(max_examples=settings.default.max_examples // 4)
@given(words=st.lists(st.sampled_from([*WORDS, "model", ".", "=", "train", "0"]), max_size=5))
def test_any_word_as_an_override_or_name_is_refused(words):
    for given_ in (lambda text: load("rgbt_tiny", [text]), load):
        try:
            given_("".join(words))
        except ConfigError as error:
            assert error.mistakes


@given(text=any_text_file(SETTINGS, "modality: rgbe\nclip_depth: false\n"))
def test_any_settings_of_a_folder_are_read_or_refused_with_their_path(text, folder):
    (folder / "train").mkdir(exist_ok=True)
    path = folder / "dataset.yaml"
    path.write_bytes(text)
    with only_reads():
        try:
            row = folder_data_set(folder, "train")
        except DataError as error:
            assert str(path) in str(error)
            return
    assert row.box_step >= 1


ALIASES = "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}' if i else 'x'] * 9)}]\n" for i in range(9))


@pytest.mark.parametrize(
    "text",
    [
        ALIASES,
        "modality: !!python/object/apply:os.system [touch ran]\n",
        "!!python/object/new:os.system [touch ran]\n",
        "modality: rgbt\nmodality: rgbd\n",
        "modality: rgbt\nfps: " + "9" * 5000 + "\n",
        "modality: " + "[" * 1000,
    ],
    ids=["aliases", "tag", "new", "twice", "long number", "deep"],
)  # fmt: skip
def test_what_yaml_can_do_beyond_plain_data_is_refused(text, folder):
    (folder / "train").mkdir()
    path = folder / "dataset.yaml"
    path.write_text(text)
    with only_reads():
        with pytest.raises(DataError, match=re.escape(str(path))):
            folder_data_set(folder, "train")
        with pytest.raises(ConfigError, match=re.escape(str(path))):
            load(path)
        with pytest.raises(ValueError, match=r"."):
            parse_value(text)


@given(data=any_text_file('{"a": {"frames": 2, "data": [[1, 0], [1, 1]]}}', '{"a": ' + "[" * 9000))
def test_any_file_of_masks_is_read_or_refused_with_its_path(data, folder):
    path = folder / "masks.json"
    path.write_bytes(data)
    try:
        masks = read_masks(path)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert all(mask.dtype == bool and mask.shape[1:] == (2,) for mask in masks.values())


@given(data=st.one_of(any_text_file("1 0 5\n0 1 6\n0 0 1\n"), any_bytes()), name=st.sampled_from(["h.txt", "h.npy"]))
def test_any_homography_is_read_or_refused_with_its_name(data, name, folder):
    (folder / name).write_bytes(data)
    with only_reads():
        try:
            matrix = read_transform(name, folder)
        except ValueError as error:
            assert name in str(error)
            return
    assert len(matrix) == 3
