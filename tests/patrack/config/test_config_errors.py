"""Bad configurations: one error that lists every mistake, where it was made and what was allowed."""

from textwrap import dedent

import pytest

from patrack.config import ConfigError, experiment_names, load


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


# --- overrides


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


# --- values


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
        ("modality", "rgbx", "must be 'rgbt', 'rgbd', 'rgbe' or 'rgb'"),
        ("name", "3", "must be a valid string"),
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
