"""docs/extend.md: each worked example is executed as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from commands import load_command
from lib.datasets import DATA_SETS
from lib.datasets import load as load_sequences
from lib.datasets.recordings import find_recordings, folder_data_set
from lib.evaluation import evaluate, write_boxes
from lib.evaluation.protocols import RULES
from lib.evaluation.scoring import MEASURES
from patrack import Tracker, adapter_parameters, build_model, tracking_loss, trainable_parameters
from patrack.config import experiments_dir, load
from patrack.methods import METHODS
from patrack.modality import PAIRS
from patrack.recordings.frames import read_frame
from patrack.weights import load_adapters, save_adapters
from recording_data import SIZE, write_recording
from recording_data import boxes as true_boxes

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "extend.md"


def blocks(section: str, language: str) -> list[str]:
    """Code blocks of one section of the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)
    assert found, f"no {language} in section {section!r} of {DOCUMENT}"
    return found


def run(section: str, names: dict[str, Any]) -> None:
    """Execute the Python of a section."""
    for code in blocks(section, "python"):
        exec(compile(code, str(DOCUMENT), "exec"), names)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads only wait for each other in networks as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """What the examples add to tables is gone afterwards."""
    changed: list[dict[str, Any]] = [METHODS, DATA_SETS, PAIRS, RULES, MEASURES]
    before = [dict(table) for table in changed]
    yield
    for table, rows in zip(changed, before, strict=True):
        table.clear()
        table.update(rows)


@pytest.fixture
def methods() -> dict[str, Any]:
    """Names that the example of an adapter leaves behind."""
    names: dict[str, Any] = {"METHODS": METHODS}
    run("An adapter", names)
    return names


def command(name: str) -> Callable[[list[str]], int]:
    """Load a command, for instance "tracking/test.py", and return its `main`."""
    return load_command(name).main


def write_experiment(path: Path, text: str) -> Path:
    """Write an example's YAML outside of experiments/, where its base is."""
    path.write_text(text.replace("base/", f"{experiments_dir()}/base/"), encoding="utf-8")
    return path


def train_save_track(config: Any, folder: Path) -> None:
    """Two steps, a file that comes back, and a few frames."""
    torch.manual_seed(0)
    model = build_model(config)
    chosen = trainable_parameters(model, "adapters")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-2)
    size = model.template_size, model.search_size
    for _ in range(2):
        images = [torch.randn(2, 6, side, side) for side in size]
        loss, _ = tracking_loss(model(*images), torch.tensor([[0.4, 0.4, 0.2, 0.2]] * 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])} >= set(chosen)
    save_adapters(model, folder / "adapters.safetensors")
    other = build_model(config)
    other.load_state_dict({k: v for k, v in model.state_dict().items() if k not in chosen}, strict=False)
    load_adapters(other, folder / "adapters.safetensors")

    boxes = []
    frames = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 6), dtype=np.uint8)
    for network in (model, other):
        tracker = Tracker(network)
        tracker.initialize(frames[0], (40, 30, 20, 20))
        boxes.append([tracker.track(frame)[0].tolist() for frame in frames])
    assert boxes[0] == boxes[1]


def test_an_adapter(methods: dict[str, Any], tmp_path: Path) -> None:
    (text,) = blocks("An adapter", "yaml")
    path = write_experiment(tmp_path / "rgbt_scale_shift.yaml", text)
    config = load(path)
    assert len(adapter_parameters(build_model(config))) == 3 * 2
    train_save_track(config, tmp_path)
    assert load(path, ["model.adapters.layers=[5]"]).model.adapters.layers == [5]
    with pytest.raises(ValueError, match="from 0 to 5"):
        load(path, ["model.adapters.layers=[6]"])


def test_a_rival(methods: dict[str, Any], tmp_path: Path) -> None:
    run("A rival", methods)
    config = load("rgbt_tiny", ["model.method=prompted"])
    train_save_track(config, tmp_path)
    model = build_model(SimpleNamespace(model=config.model)).eval()
    alone = build_model(SimpleNamespace(model=config.model.model_copy(update={"streams": "rgb"}))).eval()
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("prompt.")}, strict=False)
    images = [torch.randn(1, 6, side, side) for side in (model.template_size, model.search_size)]
    assert torch.equal(model(*images)["score_map"], alone(*images)["score_map"]), "the prompt starts at zero"


@pytest.fixture
def nightwalk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made-up data set of the example on disk, and its list; returns the data root."""
    run("A data set", {})
    lists = tmp_path / "splits"
    lists.mkdir()
    (lists / "nightwalk_test.txt").write_text("bridge\nalley\n", encoding="utf-8")
    monkeypatch.setattr("lib.datasets.loading.PACKAGED_LISTS", lists)
    for name in ("alley", "bridge"):
        folder = tmp_path / "DATA" / "NightWalk" / "sequences" / name
        write_recording(folder, ("rgb", "thermal"), frames=4, box_file="boxes.txt")
    return tmp_path / "DATA"


def test_a_data_set(nightwalk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequences = load_sequences("nightwalk", "test", data_root=nightwalk)
    assert [(sequence.name, sequence.modality) for sequence in sequences] == [("bridge", "rgbt"), ("alley", "rgbt")]
    assert np.array_equal(sequences[0].boxes, true_boxes(4))
    assert read_frame(sequences[0], 3).shape == (*SIZE, 6)

    results = tmp_path / "results"
    data = ["--dataset", "nightwalk", "--data-root", str(nightwalk)]
    assert command("scripts/check_data.py")(data) == 0
    assert (
        command("tracking/test.py")(["--config", "rgbt_tiny", "--checkpoint", "none", *data, "--output", str(results)])
        == 0
    )
    assert command("tracking/evaluate.py")([*data, "--results", f"untrained={results}"]) == 0
    printed = capsys.readouterr().out
    assert "nightwalk, protocol lasher (the LasHeR toolkit's rule, for NightWalk): 2 sequences, 8 annotated" in printed
    assert re.search(r"untrained +[01]\.\d{4} +[01]\.\d{4} +[01]\.\d{4} +2 of 2", printed)


def test_a_modality(tmp_path: Path) -> None:
    run("A modality", {})
    (text,) = blocks("A modality", "yaml")
    path = write_experiment(tmp_path / "rgbn_tiny.yaml", text)
    assert load(path).modality == "rgbn"
    (tmp_path / "train.txt").write_text("walk\n", encoding="utf-8")
    (tmp_path / "dataset.yaml").write_text("modality: rgbn\n", encoding="utf-8")
    assert folder_data_set(tmp_path, "train").modality == "rgbn"
    with pytest.raises(ValueError, match="'rgbt', 'rgbd', 'rgbe', 'rgbn', 'rgb' or 'rgbx'"):
        load(path, ["modality=rgbq"])

    folder = write_recording(tmp_path / "walk", ("rgb", "nir"), frames=3)
    with pytest.raises(ValueError, match=r"near-infrared .*one channel of 16 bits.*uint8"):
        read_frame(find_recordings(folder)[0], 0)
    for file in sorted((folder / "nir").iterdir()):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).astype(np.uint16) << 2)
    (recording,) = find_recordings(folder)
    assert recording.modality == "rgbn"
    frame = read_frame(recording, 0)
    assert frame[28, 26, 3:].tolist() == [223, 223, 223], "the gray value of the square"

    options = ["--config", str(path), "--checkpoint", "none", "--output", str(tmp_path / "out"), "--box", "20,24,12,10"]
    assert command("tracking/test.py")([*options, "--rgb", str(folder / "rgb"), "--x", str(folder / "nir")]) == 0
    assert len((tmp_path / "out" / "boxes.txt").read_text().splitlines()) == 3
    assert (tmp_path / "out" / "overlay.mp4").is_file()


def test_a_metric(nightwalk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("A metric", {"DATA_SETS": DATA_SETS})
    results = {}
    for tracker, stays in (("good", 4), ("bad", 2)):  # frames before it loses the target
        results[tracker] = tmp_path / tracker
        for name in ("alley", "bridge"):
            rows = true_boxes(4)
            rows[stays:] += (50, 0, 20, 0)
            write_boxes(results[tracker] / f"{name}.txt", rows)
    found = evaluate("nightwalk", results, protocol="more", data_root=nightwalk)
    assert list(found.trackers["bad"].metrics) == ["PR", "NPR", "SR", "kept", "size"]
    assert found.perfect["kept"] == found.trackers["good"].metrics["kept"] == 1.0
    assert found.trackers["bad"].metrics["kept"] == found.trackers["bad"].sequences["alley"]["size"] == 0.5
    assert "kept" not in evaluate("nightwalk", results, data_root=nightwalk).perfect

    given = [f"{tracker}={folder}" for tracker, folder in results.items()]
    options = ["--dataset", "nightwalk", "--data-root", str(nightwalk), "--protocol", "more", "--results", *given]
    assert command("tracking/evaluate.py")([*options, "--plots", str(tmp_path / "plots")]) == 0
    header, *rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert header.split()[:6] == ["tracker", "PR", "NPR", "SR", "kept", "size"]
    assert {row.split()[0]: row.split()[4:6] for row in rows[:2]} == {
        "good": ["1.0000", "1.0000"],
        "bad": ["0.5000", "0.5000"],
    }
    assert (tmp_path / "plots" / "size.png").is_file()
    assert command("tracking/evaluate.py")([*options, "--table", "markdown"]) == 0
    assert re.search(r"\| bad \|.*\| <u>50.0</u> \| <u>50.0</u> \| 2 of 2 \|", capsys.readouterr().out)
    assert command("tracking/report.py")([*options, "--output", str(tmp_path / "report")]) == 0
    assert "size precision" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
