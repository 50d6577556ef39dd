"""Runs that are trained again, that go on with other data, and that differ in their seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lib.training.manifest import config_differences, read_manifest, read_run, read_runs, summarize
from lib.training.run import run_training
from patrack import build_model
from patrack.weights import save_base_model


def test_run_is_repeated_from_its_own_folder(
    train: Callable, data_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = train("train.epochs=1").parent
    config, before = read_run(folder, ["data.num_workers=0"])
    assert before["data_root"] == str(data_root)
    path = run_training(config, data_root=before["data_root"], output=str(tmp_path / "again"), repeat_of=folder)
    assert path.read_bytes() == (folder / path.name).read_bytes()
    assert read_manifest(path.parent)["repeat_of"]["identical"] is True
    with pytest.raises(ValueError, match=r"train\.lr: .* -> 0\.5"):
        read_run(folder, ["train.lr=0.5"])
    with pytest.raises(ValueError, match="there is no such folder"):
        read_run(tmp_path / "nowhere", [])
    with pytest.raises(ValueError, match=f"did you mean {folder}"):
        read_run(folder.parent, [])

    init = data_root / "SynthRGBX" / "rgbt" / "trainingset" / "training_0" / "init.txt"
    for name in ("init.txt", "visible.txt", "infrared.txt"):
        init.with_name(name).write_text(init.with_name(name).read_text().replace("14,12", "13,12", 1))
    again = {
        "data_root": str(data_root),
        "output": str(tmp_path / "other"),
        "repeat_of": folder,
        "overwrite": True,
    }
    with pytest.raises(ValueError, match=r"(?s)/train \(2 .*40 .*--allow-other-data"):
        run_training(config, **again)
    with caplog.at_level("WARNING"):
        path = run_training(config, **again, allow_other_data=True)
    assert "other data than those of the run in" in caplog.text
    assert read_manifest(path.parent)["repeat_of"]["identical"] is False


def test_run_does_not_go_on_with_other_data_unless_told_so(
    train: Callable, data_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = train().parent
    before = read_manifest(folder)["data_fingerprint"]
    (data_root / "SynthRGBX" / "rgbt" / "trainingsetList.txt").write_text("training_0\n")
    with pytest.raises(ValueError, match=r"(?s)--resume.*2 .*-> .*1 .*--allow-other"):
        train(resume=True)
    assert read_manifest(folder)["data_fingerprint"] == before
    assert read_manifest(folder)["status"] == "finished"  # refusing changes nothing
    with caplog.at_level("WARNING"):
        train(resume=True, allow_other_data=True)
    assert "other data than those of the run in" in caplog.text
    assert read_manifest(folder)["data_fingerprint"] != before


def test_another_base_model_is_refused_and_the_same_one_elsewhere_is_not(
    train: Callable, base_model: Path, data_root: Path, tmp_path: Path, make_config: Callable
) -> None:
    folder = train("train.epochs=1").parent
    moved = base_model.rename(tmp_path / "moved.safetensors")
    config, _ = read_run(folder, [f"model.base_model={moved}"])
    again = {"data_root": str(data_root), "output": str(tmp_path / "again"), "repeat_of": folder}
    path = run_training(config, **again)
    assert path.read_bytes() == (folder / path.name).read_bytes()
    save_base_model(build_model(make_config()), moved)
    with pytest.raises(ValueError, match=r"moved\.safetensors .*model\.base_model=FILE"):
        run_training(config, **again, overwrite=True)


def test_runs_of_several_seeds_give_mean_and_deviation(train: Callable, tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1):
        folders.append(tmp_path / f"seed_{seed}")
        train(f"seed={seed}", "train.epochs=1").parent.rename(folders[-1])
    summary = summarize(read_runs(folders))["train loss"]
    values = [read_manifest(folder)["final"]["train"]["loss"] for folder in folders]
    assert summary["values"] == values
    assert summary["mean"] == pytest.approx(sum(values) / 2)
    assert summary["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    with pytest.raises(ValueError, match="seed 0 again"):
        read_runs([folders[0], folders[0]])
    with pytest.raises(ValueError, match="no finished run"):
        read_runs([folders[0], tmp_path])


def test_config_differences_lists_what_matters() -> None:
    old = {"seed": 0, "train": {"lr": 0.1, "print_every": 5}, "data": {"num_workers": 2, "train": [1]}}
    new = {"seed": 1, "train": {"lr": 0.2, "print_every": 9}, "data": {"num_workers": 0, "train": [1]}}
    assert config_differences(old, new) == {
        "seed": "seed: 0 -> 1",
        "train.lr": "train.lr: 0.1 -> 0.2",
    }
