"""A joint experiment from training to results: one command line each, and clear errors for what doesn't go together."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import load_command
from lib.inference.comparison import Lineup, mean_ious
from lib.synthetic import generate
from lib.training.loader import EpochBatches, build_dataset, frame_reader, load_sources, make_loader
from lib.training.run import run_training
from lib.training.trainer import Trainer
from patrack import Tracker, build_model
from patrack.build import build_tracker, load_tracker
from patrack.config import load
from patrack.modality import modalities
from patrack.weights import WeightsError, read_weights, save_base_model
from small_models import TRAINED, TRAINED_ADAPTERS

PAIRS = ("rgbt", "rgbd", "rgbe")
SMALL = (*TRAINED, *TRAINED_ADAPTERS, "data.num_workers=0", "data.val_samples=0", "data.region_probability=0")
TRAINING = ("data.samples_per_epoch=12", "train.total_batch_size=4", "train.epochs=2", "train.warmup_steps=0")
train, track, export = (
    load_command(name).main for name in ("tracking/train.py", "tracking/test.py", "scripts/export_weights.py")
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SynthRGBX of one short sequence for each pair and split."""
    root = tmp_path_factory.mktemp("data")
    for pair in PAIRS:
        for split, length in (("train", 20), ("test", 4)):
            generate(root / "SynthRGBX" / pair, pair, split, 1, length, (96, 72))
    return root


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("base") / "base_model.safetensors"
    save_base_model(build_model(load("rgbx_tiny", SMALL)), path)
    return f"model.base_model={path}"


@pytest.fixture(scope="module")
def run(data: Path, base_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished joint training with adapters of each pair's own."""
    output = tmp_path_factory.mktemp("runs")
    words = ["--config", "rgbx_tiny", "--data-root", str(data), "--output", str(output), "--device", "cpu"]
    assert train([*words, *SMALL, *TRAINING, base_model, "model.adapters.per_modality=adapters"]) == 0
    return output / "rgbx_tiny"


def tracked(data: Path, output: Path, config: Path | str, pair: str, *more: str) -> list[str]:
    """The command line that tracks a pair's test split."""
    words = ["--config", str(config), "--dataset", f"synth{pair}", "--data-root", str(data), "--output", str(output)]
    return [*words, "--device", "cpu", *more]


def test_a_trained_joint_model_tracks_each_pair_with_its_own_adapters(run: Path, data: Path, tmp_path: Path) -> None:
    assert export([str(run), str(tmp_path / "joint.safetensors")]) == 0
    header = read_weights(tmp_path / "joint.safetensors")[1]
    assert header["modality"] == "rgbx"
    stated = json.loads(header["reading"])
    assert stated["model.modalities"] == "rgbt, rgbd, rgbe"
    assert stated["model.adapters.per_modality"] == "adapters"
    for pair in ("rgbd", "rgbe"):
        output = tmp_path / pair
        assert track(tracked(data, output, run, pair, "--batch", "2")) == 0
        identity = json.loads((output / "run.json").read_text(encoding="utf-8"))["identity"]
        assert identity["modality"] == pair
        tracker = load_tracker(run, overrides=[f"modality={pair}"])
        assert tracker.network.modality == pair
        joint, own = tracker.model.state_dict(), tracker.model.of_modality(pair).state_dict()
        stored = {name.replace(f".{pair}.", "."): tensor for name, tensor in joint.items()}
        assert all(torch.equal(tensor, stored[name]) for name, tensor in own.items())


def test_a_stopped_joint_training_ends_with_the_same_weights(
    data: Path, base_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load("rgbx_tiny", [*SMALL, *TRAINING, base_model, "model.adapters.per_modality=adapters"])
    whole = run_training(config, data_root=str(data), output=str(tmp_path / "whole"))
    inner = Trainer.train_step

    def fail(self: Trainer, batch: object) -> object:
        if self.position.global_step == 4:
            raise RuntimeError("power cut")
        return inner(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run_training(config, data_root=str(data), output=str(tmp_path / "stopped"))
    gone_on = run_training(config, data_root=str(data), output=str(tmp_path / "stopped"), resume=True)
    first, second = (read_weights(path)[0] for path in (whole, gone_on))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_each_batch_has_equal_shares_whatever_sizes_and_weights(data: Path) -> None:
    sources = (
        "data.train=[{name: synthrgbe, weight: 9}, {name: synthrgbt}, {name: synthrgbt, weight: 3}, {name: synthrgbd}]"
    )
    config = load("rgbx_tiny", [*SMALL, sources])
    loaded, _ = load_sources(config, data)
    dataset = build_dataset(config, loaded, frame_reader(config, loaded), training=True)
    batches = list(make_loader(dataset, EpochBatches(60, 12), num_workers=0))
    names = np.array(modalities())
    for batch in batches:
        kinds, counts = np.unique(names[batch.modality.numpy()], return_counts=True)
        assert dict(zip(kinds.tolist(), counts.tolist(), strict=True)) == dict.fromkeys(PAIRS, 4)
        assert [loaded[number].sequences[0].modality for number in batch.frames[:, 0]] == names[batch.modality].tolist()
    drawn = torch.cat([batch.frames[:, 0] for batch in batches])
    assert 0 < (drawn == 1).sum() < (drawn == 2).sum()  # of the two sources of one pair, by their weights


def test_data_of_a_pair_that_the_joint_model_does_not_have_are_refused(
    data: Path, base_model: str, tmp_path: Path, caplog
) -> None:
    words = ["--config", "rgbx_tiny", "--data-root", str(data), "--output", str(tmp_path), "--device", "cpu"]
    with caplog.at_level(logging.ERROR):
        assert train([*words, *SMALL, *TRAINING, "model.modalities=[rgbt, rgbd]", base_model]) == 1
    assert "data set synthrgbe is rgbe, but rgbx_tiny is a joint experiment for rgbt, rgbd" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert train([*words, *SMALL, *TRAINING, "modality=rgbd", base_model]) == 1
    assert "modality=rgbd picks one pair of a joint experiment, for tracking" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert track(tracked(data, tmp_path / "out", "rgbx_tiny", "rgbe", "model.modalities=[rgbt, rgbd]")) == 1
    assert "rgbx_tiny is a joint experiment for rgbt, rgbd (model.modalities), not for rgbe" in caplog.text


def test_weights_of_one_pair_and_of_a_joint_model_are_told_apart(
    run: Path, data: Path, base_model: str, tmp_path: Path
) -> None:
    for what in ("nothing", "norms", "adapters"):
        config = load("rgbx_tiny", [*SMALL, base_model, f"model.adapters.per_modality={what}", "modality=rgbt"])
        with pytest.raises(
            WeightsError, match=r"holds weights for rgbt alone, but rgbx_tiny is a joint .*rgbt, rgbd, rgbe"
        ):
            build_tracker(config, one_pair(base_model, tmp_path))
    single = load("rgbt_tiny", [*SMALL, base_model])
    with pytest.raises(
        WeightsError, match=r"of a joint model \(rgbx\), but rgbt_tiny is for rgbt .*--config rgbx_tiny"
    ):
        build_tracker(single, run)
    fewer = load(run, ["model.modalities=[rgbt, rgbd]", "modality=rgbt"])
    with pytest.raises(WeightsError, match=r"model.modalities=rgbt, rgbd, rgbe \(the model has rgbt, rgbd\)"):
        build_tracker(fewer, run)
    with pytest.raises(ValueError, match=r"treats rgbt, rgbd, rgbe apart .*modality=rgbt"):
        load_tracker(run)


def one_pair(base_model: str, folder: Path) -> Path:
    """A file of adapters for RGB-T."""
    from patrack.weights import save_adapters

    tracker = build_tracker(load("rgbt_tiny", [*SMALL, base_model]), "none")
    save_adapters(tracker.model, folder / "rgbt.safetensors", {"modality": "rgbt"})
    return folder / "rgbt.safetensors"


@pytest.mark.parametrize(
    ("folder", "said"), [("depth", ""), ("ir", ""), ("x", "its name doesn't say what X is.*modality=rgbd")]
)
def test_a_recording_says_by_its_folder_which_pair_it_is(
    run: Path, data: Path, tmp_path: Path, caplog, folder: str, said: str
) -> None:
    import cv2

    for name in ("rgb", folder):
        (tmp_path / "clip" / name).mkdir(parents=True)
        for number in range(2):
            image = np.random.default_rng(number).integers(0, 256, (72, 96, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "clip" / name / f"{number}.png"), image)
    words = ["--config", str(run), "--rgb", str(tmp_path / "clip" / "rgb"), "--x", str(tmp_path / "clip" / folder)]
    words += ["--box", "30,20,24,22", "--output", str(tmp_path / "out"), "--device", "cpu", "--no-video"]
    with caplog.at_level(logging.ERROR):
        assert track(words) == (1 if said else 0)
    if said:
        assert "its name doesn't say what X is" in caplog.text
        assert track([*words, "modality=rgbe"]) == 0
    identity = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["identity"]
    assert identity["modality"] == {"depth": "rgbd", "ir": "rgbt"}.get(folder, "rgbe")


def test_a_joint_model_is_compared_on_the_recordings_of_each_pair(run: Path, data: Path) -> None:
    from lib.datasets import load as load_sequences

    sequences = [load_sequences(f"synth{pair}", "test", data_root=data)[0] for pair in ("rgbt", "rgbe")]
    lineup = Lineup({sequence.modality for sequence in sequences})
    lineup.add("joint", str(run))
    assert set(lineup.trackers["joint"]) == {"rgbt", "rgbe"}
    model = lineup.trackers["joint"]["rgbt"].model
    assert mean_ious(model, sequences).keys() == {sequence.name for sequence in sequences}
    assert mean_ious(model, sequences[:1]) == mean_ious(Tracker(model, modality="rgbt"), sequences[:1])
