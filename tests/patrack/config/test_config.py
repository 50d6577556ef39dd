"""Configuration: experiments, inheritance, overrides, saving. Mistakes are in test_config_errors.py."""

import re
from textwrap import dedent

import pytest

from lib import datasets
from patrack.config import (
    ConfigError,
    experiment_names,
    experiments_dir,
    load,
    project_path,
    save,
)
from patrack.config.schema import Config, ModelConfig


@pytest.fixture
def write(tmp_path):
    """Writes YAML files into a temporary folder and returns the path of the last one."""

    def write_files(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(dedent(text), encoding="utf-8")
        return path

    return write_files


def mistakes_of(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return [str(mistake) for mistake in caught.value.mistakes]


# --- the experiments of the project


def test_the_experiments_that_others_rely_on_exist():
    wanted = {f"{kind}_{size}" for kind in ("rgb", "rgbt", "rgbd", "rgbe") for size in ("base", "tiny")}
    assert wanted <= set(experiment_names())


@pytest.mark.parametrize("name", experiment_names())
def test_experiment_loads_by_name(name):
    config = load(name)
    assert config.name == name
    assert config.modality == name.split("_")[0]


@pytest.mark.parametrize("path", sorted(experiments_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_yaml_opens_with_its_command_and_holds_no_absolute_path(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(^|[\s\"'=:])(/|~|[A-Za-z]:\\)\w", text)
    if path.parent == experiments_dir():
        assert text.startswith(f"# python tracking/train.py --config {path.stem} ")


def test_shared_recipe_states_the_defaults_of_the_schema(write):
    base = experiments_dir() / "base" / "default.yaml"
    config = load(write(plain=f"base: {base}\nmodality: rgbt\n"))
    assert config == Config(name="plain", modality="rgbt")


@pytest.mark.parametrize("name", ["rgbt_base", "rgbd_base", "rgbe_base"])
def test_full_size_adapters_follow_the_published_recipe(name):
    # optimiser and schedule of the published configurations of all three modality pairs
    config = load(name)
    train, model = config.train, config.model
    assert (train.trainable, train.optimizer, train.lr, train.weight_decay) == ("adapters", "adamw", 4e-4, 1e-4)
    assert (train.epochs, train.lr_drop_epoch, train.lr_drop_factor, train.grad_clip) == (60, 48, 0.1, 0.1)
    assert (train.giou_weight, train.l1_weight, train.focal_weight, train.freeze_batchnorm) == (2.0, 5.0, 1.0, True)
    assert (config.data.samples_per_epoch, train.total_batch_size, config.data.max_gap) == (60000, 32, 200)
    assert (model.patch_size, model.template_size, model.search_size) == (16, 128, 256)
    assert (model.elimination.keep_ratio, model.streams, model.adapters.init) == (1.0, "both", "published")


@pytest.mark.parametrize("name", experiment_names())
def test_sources_of_an_experiment_are_known_data_sets_with_that_split(name):
    data = load(name).data
    assert data.train
    for source in (*data.train, *data.val):
        assert source.name in datasets.NAMES
        if source.name in datasets.DATA_SETS:
            assert source.split in datasets.DATA_SETS[source.name].splits
            assert datasets.DATA_SETS[source.name].modality == name.split("_")[0]


def test_no_experiment_trains_or_validates_on_a_test_split():
    for name in experiment_names():
        data = load(name).data
        assert not [source for source in (*data.train, *data.val) if "test" in source.split], name


def test_no_split_is_used_for_both_training_and_validation():
    for name in experiment_names():
        data = load(name).data
        train = {(source.name, source.split) for source in data.train}
        assert not train & {(source.name, source.split) for source in data.val}, name


# --- inheritance


def test_child_changes_single_keys_of_its_base(write):
    path = write(
        below="modality: rgbt\ntrain: {lr: 1e-3, epochs: 7}\nmodel: {elimination: {layers: [1, 2]}}",
        above="base: below.yaml\ntrain:\n  epochs: 8\nmodel: {elimination: {layers: [4]}}",
    )
    config = load(path)
    assert (config.train.lr, config.train.epochs) == (1e-3, 8)
    assert config.model.elimination.layers == [4]  # a list is replaced, not joined


def test_later_base_comes_on_top_of_an_earlier_one(write):
    path = write(
        one="modality: rgbt\nseed: 1\ntrain: {epochs: 1}",
        two="seed: 2",
        top="base: [one.yaml, two.yaml]",
    )
    assert (load(path).seed, load(path).train.epochs) == (2, 1)


def test_base_is_relative_to_the_file_that_names_it(write, tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "root.yaml").write_text("seed: 5")
    (tmp_path / "shared" / "base.yaml").write_text("base: root.yaml\nmodality: rgbd")
    path = write(top="base: shared/base.yaml")
    monkeypatch.chdir("/")
    assert load(path).seed == 5


def test_name_is_the_stem_of_the_file_and_never_that_of_a_base(write):
    path = write(below="name: below\nmodality: rgbt", above="base: below.yaml")
    assert load(path).name == "above"
    assert load(write(own="name: chosen\nmodality: rgbt")).name == "chosen"


def test_one_file_may_be_reached_on_two_ways(write):
    path = write(
        root="modality: rgbt\nlr: 1",
        left="base: root.yaml",
        right="base: root.yaml",
        top="base: [left.yaml, right.yaml]",
    )
    assert len(mistakes_of(path)) == 1  # the mistake in root.yaml is listed once, and there is no circle


def test_missing_base_names_the_file_looked_for(write, tmp_path):
    (mistake,) = mistakes_of(write(top="base: nowhere.yaml\nseed: 3"))
    assert "top.yaml:1: base = 'nowhere.yaml': no such file" in mistake
    assert str(tmp_path / "nowhere.yaml") in mistake


def test_other_mistakes_are_listed_beside_a_missing_base(write):
    found = mistakes_of(write(top="base: nowhere.yaml\ntrain: {epochs: many}"))
    assert len(found) == 2
    assert "train.epochs = 'many'" in found[1]


@pytest.mark.parametrize(
    "files",
    [{"a": "base: a.yaml"}, {"a": "base: b.yaml", "b": "base: c.yaml", "c": "base: [a.yaml]"}],
    ids=["itself", "around three"],
)
def test_circle_of_bases_is_refused(write, tmp_path, files):
    write(**files)
    (mistake,) = mistakes_of(tmp_path / "a.yaml")
    assert "inherit in a circle: a.yaml -> " in mistake


@pytest.mark.parametrize("value", ["3", "[1]", "{a: b}", "['']", "null"])
def test_base_of_a_wrong_type_is_refused(write, value):
    (mistake,) = mistakes_of(write(top=f"base: {value}\nmodality: rgbt"))
    assert "must be one file name or a list of them" in mistake


# --- overrides


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("train.lr=1e-3", lambda config: config.train.lr, 1e-3),
        ("train.lr=2", lambda config: config.train.lr, 2.0),
        ("data.train.0.weight=2", lambda config: config.data.train[0].weight, 2.0),
        ("data.train.0={name: folder}", lambda config: config.data.train[0].name, "folder"),
        ("model.adapters.cea.layers=[1, 5]", lambda config: config.model.adapters.cea.layers, [1, 5]),
        ("model.adapters.mda.layers=null", lambda config: config.model.adapters.mda.layers, None),
        ("model.foundation=", lambda config: config.model.foundation, None),
        ("data.root=a=b", lambda config: config.data.root, "a=b"),
        ("test.window=false", lambda config: config.test.window, False),
        ("name=2024-01-31", lambda config: config.name, "2024-01-31"),
        ("crop={search_factor: 5}", lambda config: config.crop.search_factor, 5.0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_override_sets_one_key(override, read, expected):
    assert read(load("rgbt_base", [override])) == expected


def test_last_override_wins():
    assert load("rgbt_base", ["seed=1", "seed=2"]).seed == 2


def test_override_makes_a_group_that_no_file_mentions(write):
    assert load(write(top="modality: rgbt"), ["model.adapters.task.enabled=false"]).model.adapters.task.enabled is False


def test_overriding_one_experiment_leaves_the_next_untouched():
    load("rgbt_base", ["data.train.0.weight=9"])
    assert load("rgbt_base").data.train[0].weight == 1.0


# --- saving


@pytest.mark.parametrize("name", experiment_names())
def test_saved_configuration_loads_back_equal(name, tmp_path):
    config = load(name, ["train.lr=1.25e-5", "data.root='1e-3'"] if name == "rgbt_base" else [])
    path = save(config, tmp_path / "run" / "config.yaml")
    assert load(path) == config
    assert load(path.parent) == config


def test_text_that_looks_like_something_else_survives_saving(tmp_path):
    for text in ("1e-3", "yes", "null", "1:30", "0x1F", "2024-01-31", "", "ä #: '", "*a", "- x"):
        config = Config(name=text, modality="rgbt")
        assert load(save(config, tmp_path)) == config


def test_saving_into_a_folder_writes_config_yaml(tmp_path):
    assert save(load("rgbt_tiny"), tmp_path) == tmp_path / "config.yaml"


def test_saved_run_accepts_overrides(tmp_path):
    save(load("rgbt_tiny"), tmp_path)
    assert load(tmp_path, ["seed=7"]).seed == 7


def test_experiment_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(load("rgbd_tiny"), tmp_path / "rgbt_tiny" / "config.yaml")
    assert load("rgbt_tiny").modality == "rgbt"
    assert load("./rgbt_tiny").modality == "rgbd"


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"cannot write .*file/config\.yaml"):
        save(load("rgbt_tiny"), tmp_path / "file" / "config.yaml")


# --- the rest


def test_configuration_cannot_be_changed():
    config = load("rgbt_tiny")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


def test_schema_refuses_unknown_keys_and_conversions_in_python_too():
    with pytest.raises(ValueError, match="depth"):
        ModelConfig(depth="12")
    with pytest.raises(ValueError, match="deep"):
        ModelConfig(deep=12)


def test_project_path_keeps_absolute_paths_and_completes_relative_ones(tmp_path):
    assert project_path(tmp_path) == tmp_path
    assert project_path("experiments") == experiments_dir()
