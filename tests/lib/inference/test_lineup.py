"""Which weights stand behind the columns of a comparison: shipped ones, or those of a run folder."""

import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lib.inference.comparison import BOTH, RGB, Lineup, X
from patrack import config as configs
from patrack.config import project_path


@pytest.fixture
def run_folder(tmp_path):
    """Function that makes the folder of a run out of shipped weights, scaled by a factor."""

    def make(experiment, file, overrides=(), factor=1.0):
        folder = tmp_path / f"run_{experiment}"
        folder.mkdir()
        configs.save(configs.load(experiment, overrides), folder)
        shipped = project_path(f"weights/{experiment}.safetensors")
        if factor == 1.0:
            shutil.copy(shipped, folder / file)
        else:
            with safe_open(shipped, "pt") as opened:
                notes = opened.metadata()
            del notes["tensors_sha256"]
            weights = {name: w * factor if w.is_floating_point() else w for name, w in load_file(shipped).items()}
            save_file(weights, folder / file, notes)
        return str(folder)

    return make


def weights(lineup, name, reads):
    return dict(lineup.trackers[name][reads].model.state_dict())


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_shipped_columns_share_the_base_model():
    lineup = Lineup(["rgbt", "rgb"])
    lineup.add_shipped()
    assert {name: sorted(trackers) for name, trackers in lineup.trackers.items()} == {
        RGB: ["rgb"],
        X: ["rgbt"],
        BOTH: ["rgbt"],
    }
    assert [lineup.trackers[name][reads].network.streams for name, reads in ((RGB, "rgb"), (X, "rgbt"))] == ["rgb", "x"]
    assert same(weights(lineup, RGB, "rgb"), weights(lineup, X, "rgbt"))
    assert list(lineup.trackers) == [RGB, X, BOTH]


def test_nothing_is_built_that_no_recording_needs():
    lineup = Lineup(["rgb"])
    lineup.add_shipped()
    lineup.add("pair", "rgbd_tiny")
    assert list(lineup.trackers) == [RGB]


def test_run_folder_gives_its_own_adapters_and_single_streams_the_base_model(run_folder):
    folder = run_folder("rgbt_tiny", "adapters.safetensors", factor=0.5)
    lineup = Lineup(["rgbt"])
    lineup.add_shipped([X, BOTH], {"rgbt": folder})
    lineup.add("shipped", "rgbt_tiny")
    lineup.add("base_model", "rgb_tiny")
    assert not same(weights(lineup, BOTH, "rgbt"), weights(lineup, "shipped", "rgbt"))
    assert same(weights(lineup, X, "rgbt"), weights(lineup, "base_model", "rgb"))


def test_run_that_started_from_a_base_model_gives_what_it_trained(run_folder):
    start = ["model.base_model=weights/rgb_tiny.safetensors"]
    folder = run_folder("rgb_tiny", "base_model.safetensors", start, factor=0.5)
    lineup = Lineup(["rgb"])
    lineup.add("trained", folder)
    lineup.add("shipped", "rgb_tiny")
    name = next(key for key in weights(lineup, "shipped", "rgb") if key.endswith("qkv.weight"))
    trained, shipped = (weights(lineup, column, "rgb")[name] for column in ("trained", "shipped"))
    torch.testing.assert_close(trained, 0.5 * shipped)


def test_settings_reach_every_tracker_and_those_of_one_come_last():
    lineup = Lineup(["rgb"], overrides=["crop.search_factor=5", "crop.template_factor=2.5"])
    lineup.add("a", "rgb_tiny")
    lineup.add("b", "rgb_tiny", ["crop.search_factor=3"])
    a, b = (lineup.trackers[name]["rgb"].settings.crop for name in "ab")
    assert (a.search_factor, b.search_factor, b.template_factor) == (5, 3, 2.5)


def test_one_name_may_stand_for_several_modalities_but_not_twice_for_one():
    lineup = Lineup(["rgb", "rgbd"])
    lineup.add("new", "rgbd_tiny")
    lineup.add("new", "rgb_tiny")
    assert sorted(lineup.trackers["new"]) == ["rgb", "rgbd"]
    assert len(lineup.origins["new"]) == 2
    with pytest.raises(ValueError, match="two trackers 'new' for rgbd"):
        lineup.add("new", "rgbd_tiny")
