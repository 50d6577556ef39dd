"""Configuration: experiments, inheritance, overrides, saving; and one error that lists every mistake."""

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
from patrack.config.schema import Config, DataConfig, ModelConfig


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
        assert source.name in datasets.data_set_names()
        if source.name in datasets.DATA_SETS:
            assert source.split in datasets.DATA_SETS[source.name].splits
            pairs = load(name).model.modalities or [name.split("_")[0]]
            assert datasets.DATA_SETS[source.name].modality in pairs


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


@pytest.mark.parametrize("base", ["rgbt_tiny", "rgbt_tiny.yaml"])
def test_base_may_be_one_of_the_projects_experiments_from_anywhere(write, base):
    config = load(write(mine=f"base: {base}\nseed: 7"))
    assert config == load("rgbt_tiny").model_copy(update={"name": "mine", "seed": 7})


def test_file_beside_the_experiment_goes_before_one_of_the_project(write):
    path = write(rgbt_tiny="base: rgbt_small\nseed: 5", mine="base: rgbt_tiny.yaml")
    assert load(path.parent / "mine.yaml").seed == 5


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
        ("model.base_model=", lambda config: config.model.base_model, None),
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
        config = Config(name="text", modality="rgbt", data=DataConfig(root=text))
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


# --- wrong overrides


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lrr=3", "train.lrr = 3: unknown key; did you mean train.lr?"),
        ("lr=3", "lr = 3: unknown key; did you mean train.lr? known here: name, modality"),
        ("train.adam.beta=3", "train.adam = {'beta': 3}: unknown key; known here: trainable"),
        ("data.train.0.wight=1", "data.train.0.wight = 1: unknown key; did you mean data.train.0.weight?"),
        ("data.train.1.weight=1", "data.train is a list of 1: '1' must be a place in it, counted from 0"),
        ("data.train.-1.weight=1", "'-1' must be a place in it"),
        ("seed.x=1", "seed.x: "),
        ("train", "must look like key.sub=value"),
        ("=3", "must look like key.sub=value"),
        ("train..lr=3", "must look like key.sub=value"),
        ("data.train=[", "data.train: the value is not valid YAML"),
        ("crop={search_factor: 5, search_factor: 6}", "duplicate key"),
        ("train=3", "train = 3: must be a group of keys"),
        ("base=other.yaml", "base = 'other.yaml': unknown key"),
    ],
    ids=lambda value: value.split(":")[0],
)
def test_wrong_override_is_explained(override, expected):
    (mistake,) = mistakes_of("rgbt_base", "seed=1", override)
    assert mistake.startswith(f"override {override!r}: ")
    assert expected in mistake


# --- wrong values


@pytest.mark.parametrize("text", ["4e-4", "4.0e-4", "0.0004", "4E-4", ".0004", "+4e-4"])
def test_every_way_to_write_a_number_is_understood(write, text):
    assert load(write(top=f"modality: rgbt\ntrain: {{lr: {text}}}")).train.lr == 4e-4


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("train.epochs", "ten", "must be a valid integer"),
        ("train.epochs", "2.5", "must be a valid integer"),
        ("train.epochs", "true", "must be a valid integer"),
        ("train.epochs", "0", "must be greater than 0"),
        ("train.epochs", "1:30", "must be a valid integer"),
        ("train.epochs", "010", "must be a valid integer"),
        ("train.lr", "'1e-3'", "must be a valid number"),
        ("train.lr", ".nan", "must be a finite number"),
        ("train.weight_decay", ".inf", "must be a finite number"),
        ("train.lr", "null", "must be a valid number"),
        ("train.precision", "fp8", "must be 'fp32', 'bf16' or 'fp16'"),
        ("train.total_batch_size", "-4", "must be greater than 0 (pairs per optimiser step"),
        ("model.drop_path", "1.5", "must be less than or equal to 1"),
        ("model.adapters.cea.layers", "3", "must be a valid list"),
        ("model.adapters.cea.layers", "[3, x]", "model.adapters.cea.layers.1 = 'x': must be a valid integer"),
        ("test.window", "yes", "must be true or false"),
        ("modality", "rgbq", "must be 'rgbt', 'rgbd', 'rgbe', 'rgb' or 'rgbx'"),
        ("name", "3", "must be a valid string"),
        ("name", "../x", "'../x' can't name a file or folder: it must not have '/' (run folder and result key"),
        ("name", "/abs", "must not have '/'"),
        ("name", "..", "must have a letter"),
        ("data.train", "[{split: train}]", "data.train.0.name: required key is missing"),
        ("model", "null", "must be a group of keys"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_wrong_value_is_explained(key, value, allowed):
    (mistake,) = mistakes_of("rgbt_base", f"{key}={value}")
    assert key in mistake
    assert allowed in mistake


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.embed_dim=770"], ["model.embed_dim = 770: must be a multiple of model.num_heads (12)"]),
        (
            ["model.patch_size=48"],
            ["model.template_size = 128: must be a multiple", "model.search_size = 256: must be"],
        ),
        (["model.template_size=144"], ["model.template_size = 144: must be an even multiple of model.patch_size (16)"]),
        (["model.head_channels=100"], ["model.head_channels = 100: must be a multiple of 8"]),
        (["model.adapters.mda.hidden_dim=6"], ["model.adapters.mda.hidden_dim = 6: must be a multiple of 4"]),
        (["model.depth=9"], ["model.adapters.cea.layers = [3, 6, 9]: must be different block numbers from 0 to 8"]),
        (["model.adapters.mda.layers=[1, 1]"], ["model.adapters.mda.layers = [1, 1]: must be different block"]),
        (["model.elimination={keep_ratio: 0.7, layers: [-1]}"], ["model.elimination.layers = [-1]: must be different"]),
        (["modality=rgb"], ["model.streams = 'both': must be 'rgb' for modality rgb"]),
        (["data.samples_per_epoch=8"], ["data.samples_per_epoch = 8: must be at least train.total_batch_size (32)"]),
    ],
    ids=lambda value: value[0].split("=")[0] if "=" in value[0] else "",
)
def test_impossible_combination_is_explained(overrides, expected):
    found = mistakes_of("rgbt_base", *overrides)
    assert len(found) == len(expected)
    for mistake, part in zip(found, expected, strict=True):
        assert part in mistake


@pytest.mark.parametrize(
    "override",
    ["model.adapters.mda.enabled=false", "model.streams=rgb"],
    ids=["family off", "one stream"],
)
def test_rules_of_an_absent_adapter_do_not_apply(override):
    assert load("rgbt_base", ["model.template_size=144", "model.adapters.mda.hidden_dim=6", override])


def test_layers_of_elimination_do_not_matter_without_elimination():
    load("rgbt_base", ["model.elimination.layers=[40]"])


# --- one error with everything in it


def test_all_mistakes_are_listed_with_the_file_and_line_that_made_them(write, tmp_path):
    path = write(
        below="""\
            modality: rgbt
            train:
              epochs: ten
            """,
        above="""\
            # a comment
            base: below.yaml
            model:
              embed_dim: 100
              num_head: 5
            data:
              train:
                - {name: lasher}
                - {name: lasher, wieght: 2}
            """,
    )
    found = mistakes_of(path, "test.window=3", "sed=1")
    below, above = tmp_path / "below.yaml", tmp_path / "above.yaml"
    assert sorted(found) == sorted(
        [
            f"{below}:3: train.epochs = 'ten': must be a valid integer",
            f"{above}:5: model.num_head = 5: unknown key; did you mean model.num_heads?",
            f"{above}:9: data.train.1.wieght = 2: unknown key; did you mean data.train.1.weight?",
            f"{above}:4: model.embed_dim = 100: must be a multiple of model.num_heads (12)",
            "override 'test.window=3': test.window = 3: must be true or false (Hann window on the score map)",
            "override 'sed=1': sed = 1: unknown key; did you mean seed?",
        ]
    )


def test_message_counts_and_lists_the_mistakes(write):
    path = write(top="modality: rgbt\nsed: 1\nseeed: 2")
    with pytest.raises(ConfigError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"2 mistakes in the configuration {path}:"
    assert lines[1] == f"  - {path}:2: sed = 1: unknown key; did you mean seed?"


def test_mistake_is_blamed_on_the_file_that_set_the_value_last(write, tmp_path):
    path = write(below="modality: rgbt\nseed: -1", middle="base: below.yaml\n\nseed: -2", top="base: middle.yaml")
    (mistake,) = mistakes_of(path)
    assert mistake.startswith(f"{tmp_path / 'middle.yaml'}:3: seed = -2: ")


def test_required_key_that_is_missing_is_named(write):
    (mistake,) = mistakes_of(write(top="seed: 3"))
    assert "top.yaml: modality: required key is missing" in mistake


# --- files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modality: rgbt\nseed: 1\nseed: 2", "top.yaml:3: seed: duplicate key, already set in line 2"),
        ("modality: rgbt\ntrain:\n  lr: 1\n  lr: 2", "top.yaml:4: train.lr: duplicate key, already set in line 3"),
        ("modality: rgbt\ntrain: {lr: 1", "top.yaml:2: is not valid YAML"),
        ("modality: rgbt\ntrain:\n\tlr: 1", "top.yaml:3: is not valid YAML"),
        ("- modality: rgbt", "top.yaml: must hold keys with values"),
        ("rgbt", "top.yaml: must hold keys with values"),
        ("modality: rgbt\n? [a, b]\n: 1", "top.yaml:2: a key must be a word"),
        ("modality: rgbt\ndata: &a {root: x}\ncrop: *a", "anchors and aliases are not supported"),
        ("modality: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("modality: rgbt\nname: !!binary aGVsbG8=", "top.yaml:2: is not valid YAML: tag"),
        ("modality: rgbt\ncrop: !own {search_factor: 3}", "top.yaml:2: is not valid YAML: tag '!own'"),
        ("modality: rgbt\n---\nseed: 1", "is not valid YAML"),
    ],
    ids=[
        "twice",
        "twice below",
        "open bracket",
        "tab",
        "list",
        "word",
        "key",
        "alias",
        "object",
        "binary",
        "own tag",
        "two documents",
    ],
)
def test_bad_yaml_is_explained(write, text, expected):
    assert expected in mistakes_of(write(top=text))[0]


def test_python_objects_are_never_built(write, tmp_path):
    made = tmp_path / "made"
    mistakes_of(write(top=f"modality: rgbt\nname: !!python/object/apply:os.mkdir ['{made}']"))
    assert not made.exists()


def test_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "top.yaml"
    path.write_bytes(b"modality: \xff\xfe")
    assert "is not UTF-8 text" in mistakes_of(path)[0]


def test_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "top.yaml"
    path.write_bytes(b"\xef\xbb\xbfmodality: rgbt\r\nseed: 4\r\n")
    assert load(path).seed == 4


@pytest.mark.parametrize("name", ["rgbt_bsae", "rgbt_bsae.yaml", "some/where/rgbt_bsae.yaml"])
def test_unknown_experiment_lists_the_known_ones_and_the_nearest(name):
    (mistake,) = mistakes_of(name)
    assert f"{name!r}: no such experiment, file or run folder; did you mean 'rgbt_base'?" in mistake
    assert ", ".join(experiment_names()) in mistake


@pytest.mark.parametrize("name", ["", "."], ids=["empty", "a folder"])
def test_what_is_no_experiment_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(mistakes_of(name)) == 1


def test_base_and_file_may_begin_with_home_or_a_variable(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHARED", str(tmp_path / "shared"))
    monkeypatch.delenv("UNSET_PLACE", raising=False)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/base.yaml").write_text("modality: rgbd")
    for base in ("~/shared/base.yaml", "$SHARED/base.yaml"):
        path = write(top=f"base: {base}\nmodel: {{base_model: {base}}}")
        assert load(path).modality == "rgbd"
        assert project_path(load(path).model.base_model) == tmp_path / "shared/base.yaml"
    assert load("~/shared/base.yaml").modality == "rgbd"
    (mistake,) = mistakes_of(write(top="base: $UNSET_PLACE/base.yaml\nmodality: rgbt"))
    assert "base = '$UNSET_PLACE/base.yaml': path" in mistake
    assert "UNSET_PLACE is not set" in mistake


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: " + "9" * 5000, "4300 digits"),
        ("data: " + "[" * 1000, "nested too deeply"),
        ("base: " + "b" * 300, "no such file"),
    ],
)
def test_yaml_that_python_cannot_hold_is_a_mistake(write, text, message):
    (mistake,) = mistakes_of(write(top=f"modality: rgbt\n{text}\n"))
    assert message in mistake


def test_a_name_that_no_file_can_have_is_no_experiment():
    with pytest.raises(ConfigError, match="no such experiment"):
        load("x" * 300)
    with pytest.raises(ConfigError, match="no such home folder"):
        load("~no_such_user/a")


def test_text_with_unusual_line_ends_is_saved_as_it_is(tmp_path):
    data = {"root": "a\x85b\u2028c"}
    config = Config.model_validate({"name": "a", "modality": "rgbt", "data": data})
    assert load(save(config, tmp_path / "a.yaml")).data.root == config.data.root == data["root"]
