"""From an experiment and weights files to a tracker: which weights are taken, refused, asked for."""

import pytest
import torch

import patrack
from patrack import build
from patrack.config import ConfigError, experiment_names, load, project_path, save
from patrack.weights import WeightsError, save_adapters, save_base_model, save_model
from small_models import tiny_config

CONFIG = tiny_config()


def _trained(folder, seed=1):
    tracker = build.build_tracker(CONFIG.model_copy(update={"seed": seed}), build.UNTRAINED)
    save_base_model(tracker.model, folder / "base_model.safetensors", half=False)
    save_adapters(tracker.model, folder / "adapters.safetensors")
    return tracker.model


def _with_base_model(path, **update):
    return CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"base_model": str(path), **update})})


SHIPPED = [name for name in experiment_names() if project_path(f"weights/{name}.safetensors").is_file()]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_fit_their_experiment(name):
    tracker = build.build_tracker(load(name))
    assert tracker.network.streams == ("rgb" if name.startswith("rgb_") else "both")


def test_both_sizes_are_shipped_for_every_pair_and_the_small_ones_stay_small():
    pairs = ("rgb", "rgbt", "rgbd", "rgbe")
    assert {f"{pair}_{size}" for pair in pairs for size in ("tiny", "small")} <= set(SHIPPED)
    assert sum(project_path(f"weights/{pair}_small.safetensors").stat().st_size for pair in pairs) <= 30e6


@pytest.mark.parametrize("given", ["adapters.safetensors", "."], ids=["file", "run-folder"])
def test_base_model_and_adapters_make_the_trained_tracker(tmp_path, given):
    model = _trained(tmp_path)
    tracker = build.build_tracker(_with_base_model(tmp_path / "base_model.safetensors"), str(tmp_path / given))
    loaded = tracker.model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_folder_of_full_fine_tuning_makes_the_whole_tracker(tmp_path):
    model = build.build_tracker(CONFIG.model_copy(update={"seed": 1}), build.UNTRAINED).model
    save_model(model, tmp_path / "model.safetensors", half=False)
    loaded = build.build_tracker(CONFIG, str(tmp_path)).model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_base_model_of_another_grid_is_resized_on_request_only(tmp_path):
    _trained(tmp_path)
    config = _with_base_model(tmp_path / "base_model.safetensors", search_size=48, streams="x")
    with pytest.raises(WeightsError, match="resize_position_embeddings"):
        build.build_tracker(config)
    config = _with_base_model(
        tmp_path / "base_model.safetensors", search_size=48, streams="x", resize_position_embeddings=True
    )
    assert build.build_tracker(config).model.search_grid == 6


def test_an_experiment_that_trains_everything_is_not_its_starting_point(tmp_path, monkeypatch):
    _trained(tmp_path)
    monkeypatch.setattr(build, "project_path", lambda name: tmp_path / name)
    config = _with_base_model(tmp_path / "base_model.safetensors", streams="rgb")
    config = config.model_copy(update={"train": config.train.model_copy(update={"trainable": "all"})})
    with pytest.raises(WeightsError, match="no weights for tiny"):
        build.find_checkpoint(config, None, has_adapters=False)
    (tmp_path / "weights").mkdir()
    shipped = tmp_path / "weights" / "tiny.safetensors"
    shipped.touch()
    assert build.find_checkpoint(config, None, has_adapters=False) == shipped


def test_base_model_alone_needs_no_checkpoint(tmp_path):
    _trained(tmp_path)
    config = _with_base_model(tmp_path / "base_model.safetensors", streams="x")
    tracker = build.build_tracker(config)
    assert tracker.model.streams == "x"


def test_base_model_alone_leaves_given_adapters_out(tmp_path, caplog):
    _trained(tmp_path)
    config = _with_base_model(tmp_path / "base_model.safetensors", streams="rgb")
    tracker = build.build_tracker(config, str(tmp_path / "adapters.safetensors"))
    assert "is not used: with model.streams=rgb the base model runs alone" in caplog.text
    assert tracker.model.streams == "rgb"


def test_untrained_adapters_must_be_asked_for(tmp_path):
    _trained(tmp_path)
    with pytest.raises(WeightsError, match=r"tiny: .*weights/tiny\.safetensors; .*'none'"):
        build.build_tracker(_with_base_model(tmp_path / "base_model.safetensors"))


def test_missing_base_model_is_an_error_that_names_key_and_file(tmp_path):
    _trained(tmp_path)
    with pytest.raises(WeightsError, match=r"model\.base_model = .*nowhere\.safetensors") as caught:
        build.build_tracker(_with_base_model(tmp_path / "nowhere.safetensors"), str(tmp_path))
    assert "Train it with an rgb_* experiment, or set model.base_model=FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("OSTrack_ep0300", "vitb_256_mae_ce_32x4_ep300"), ("OSTrack_mae_ep0300", r"vitb_256_mae_32x4_ep300 \(.*\)")],
)
def test_missing_file_of_ostrack_is_an_error_that_says_where_it_comes_from(tmp_path, name, folder):
    with pytest.raises(WeightsError, match=rf"folder {folder} of the model zoo .*botaoye/OSTrack"):
        build.build_tracker(_with_base_model(tmp_path / f"{name}.pth.tar"), "none")


def test_folder_without_weights_is_an_error_that_says_what_was_looked_for(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights in .*adapters\.safetensors"):
        build.build_tracker(CONFIG, str(tmp_path))


def test_identity_changes_with_weights_and_settings_but_not_with_paths(tmp_path):
    one, two = (build.build_tracker(CONFIG.model_copy(update={"seed": seed}), "none") for seed in (1, 2))
    base = build.identity(CONFIG, one, dataset="d")
    assert base == build.identity(_with_base_model(tmp_path), one, dataset="d")
    assert base != build.identity(CONFIG, two, dataset="d")
    assert base != build.identity(CONFIG, one, dataset="e")
    test = CONFIG.test.model_copy(update={"window": False})
    assert base != build.identity(CONFIG.model_copy(update={"test": test}), one, dataset="d")


def test_config_of_a_run_brings_its_weights(tmp_path):
    save(CONFIG, tmp_path)
    assert build.weights_beside(tmp_path) is None
    _trained(tmp_path)
    assert build.weights_beside(tmp_path) == str(tmp_path)
    assert build.weights_beside(str(tmp_path / "config.yaml")) == str(tmp_path)
    assert build.weights_beside("rgbt_tiny") is None


def test_a_tracker_is_loaded_by_name_or_with_the_weights_of_a_run(tmp_path):
    assert patrack.load_tracker("rgbt_tiny", overrides=["model.streams=rgb"]).model.streams == "rgb"
    model = _trained(tmp_path)
    save(_with_base_model(tmp_path / "base_model.safetensors"), tmp_path)
    loaded = patrack.load_tracker(tmp_path).model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())
    untrained = patrack.load_tracker(tmp_path, checkpoint="none").model.state_dict()
    assert not all(torch.equal(tensor, untrained[name]) for name, tensor in model.state_dict().items())


def test_mistakes_in_loading_a_tracker_name_the_arguments(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'rgbt_tiny'"):
        patrack.load_tracker("rgbt_tini")
    with pytest.raises(WeightsError, match=r"checkpoint .*: no weights in this folder"):
        patrack.load_tracker("rgbt_tiny", checkpoint=tmp_path)


def test_adapters_of_another_modality_are_a_warning(tmp_path, caplog):
    model = _trained(tmp_path)
    config = _with_base_model(tmp_path / "base_model.safetensors")
    for modality in ("rgbd", config.modality):
        caplog.clear()
        save_adapters(model, tmp_path / "adapters.safetensors", {"modality": modality})
        build.build_tracker(config, str(tmp_path / "adapters.safetensors"))
        said = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert [f"was trained for {modality}, this experiment is for {config.modality}" in text for text in said] == (
            [True] if modality == "rgbd" else []
        )
