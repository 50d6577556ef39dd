"""Exported graphs: they compute what the network does, a wrong one is not kept, and the example tracks with them."""

from __future__ import annotations

import copy
import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from patrack import export
from patrack.adapters import TrackingModel
from patrack.commands import export as command
from patrack.commands import main
from patrack.config import project_path, schema
from patrack.export import DESCRIPTION, ExportError, export_network, load_graph, time_search
from patrack.predictor import PlainNetwork
from patrack.target import Settings
from small_networks import crops, small

ALL = {"layers": []}
"""No elimination: where the precision is low, rounding decides which tokens stay."""
EXAMPLE = project_path("examples/onnx_tracker.py")


def needs(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'patrack[export]', 'patrack[openvino]'")


def tracked(**model: object) -> TrackingModel:
    network = small(**model)
    modality = "rgb" if network.streams == "rgb" else "rgbt"
    return TrackingModel(network, Settings(schema.CropConfig(), schema.TestConfig()), modality=modality, name="small")


@pytest.mark.parametrize(
    ("model", "kind", "precision", "batch", "allowed"),
    [
        pytest.param({"method": "seatrack"}, "onnx", "fp32", 2, 1e-5, id="seatrack-onnx-batch2"),
        pytest.param({"elimination": ALL}, "onnx", "int8", 1, 0.05, id="patrack-onnx-int8"),
        pytest.param({"method": "lora", "elimination": ALL}, "onnx", "fp16", 1, 0.02, id="lora-onnx-fp16"),
        pytest.param({"method": "bat"}, "torch", "fp32", 2, 1e-5, id="bat-torch-batch2"),
        pytest.param({"templates": 2}, "torch", "fp32", 1, 1e-5, id="two-templates-torch"),
        pytest.param({"streams": "rgb"}, "openvino", "fp32", 1, 1e-4, id="rgb-openvino"),
    ],
)
def test_the_graphs_compute_what_the_network_does(model, kind, precision, batch, allowed, tmp_path, request):
    if request.node.callspec.id in ("lora-onnx-fp16", "two-templates-torch") and not request.config.getoption("--long"):
        pytest.skip("only with --long")
    needs(*export.FORMATS[kind].packages)
    model = tracked(**model)
    written = export_network(model, tmp_path / "out", kind, precision, batch)
    suffix, templates = export.FORMATS[kind].files[0], model.network.templates
    template, search = (load_graph(tmp_path / "out" / f"{name}{suffix}") for name in ("template", "search"))
    channels = 3 if model.network.streams == "rgb" else 6
    z, x = (crops(size, batch)[..., :channels].contiguous() for size in (16, 32))
    tokens = template(crop=z.numpy())[0]
    found = search(z=np.tile(tokens, (1, 1, templates, 1)), x=x.numpy())
    plain = PlainNetwork(model.model, None if channels == 3 else "rgbt")
    with torch.inference_mode():
        embedded = plain.embed_template(z)
        output = plain(embedded if templates == 1 else torch.stack([embedded] * 2, dim=1), x)
    for name, values in zip(("score_map", "size_map", "offset_map"), found, strict=True):
        assert values.shape == output[name].shape
        assert values.dtype == np.float32
        assert np.abs(values - output[name].numpy()).mean() < allowed, name
    timed = time_search(model, tmp_path / "out", 2)
    assert timed["repetitions"] == 2
    assert min(timed["torch_ms"], timed["graph_ms"], timed["ratio"]) > 0
    told = json.loads((tmp_path / "out" / DESCRIPTION).read_text())
    assert told == written.description
    assert (told["inputs"]["x"], told["inputs"]["z"]) == (
        [batch, 32, 32, channels],
        list(np.tile(tokens, (1, 1, templates, 1)).shape),
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*told["files_sha256"], DESCRIPTION])
    machine = [path.name for path in written.files if str(project_path()).encode() in path.read_bytes()]
    assert not machine, "paths of this machine were written"


def test_a_wrong_graph_is_not_kept(tmp_path, monkeypatch):
    write = export.write_graph

    def wrong(graph, *rest):
        if isinstance(graph, export.SearchGraph):
            graph = copy.deepcopy(graph)
            graph.network.head.maps_bias.add_(1.0)
        write(graph, *rest)

    monkeypatch.setattr(export, "write_graph", wrong)
    with pytest.raises(ExportError, match=r"something else than the network.*nothing was kept"):
        export_network(tracked(), tmp_path / "out", "torch")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_are_not_exported(tmp_path):
    model = tracked()
    with torch.no_grad():
        model.model.head.score[-1].bias.fill_(float("nan"))
    with pytest.raises(ExportError, match="NaN"):
        export_network(model, tmp_path / "out", "torch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("method", "adapters"), [("vipt", {}), ("sdstrack", {"fusion_layers": [1, 3]})])
def test_a_network_that_cannot_be_folded_is_refused(method, adapters, tmp_path):
    with pytest.raises(ValueError, match=r"small can't be exported, since it can't be folded: .*PATrack, BAT, LoRA"):
        export_network(tracked(method=method, adapters=adapters), tmp_path / "out", "torch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"kind": "tflite"}, "format must be one of onnx, torch, openvino, got 'tflite'", id="format"),
        pytest.param({"kind": "torch", "precision": "int8"}, "torch is written in fp32, fp16, got", id="precision"),
        pytest.param({"kind": "torch", "batch": 0}, "batch must be at least 1, got 0", id="batch"),
    ],
)
def test_what_cannot_be_written_is_said(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_network(tracked(), tmp_path / "out", **arguments)


def test_a_folder_of_something_else_is_left_alone_and_an_export_replaced_when_asked(tmp_path, capsys):
    folder = tmp_path / "out"
    words = ["export", "--weights", "rgbt_tiny", "--output", str(folder)]
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert main([*words, "--overwrite"]) == 1
    assert "out holds something else (notes.txt): give a new or empty folder" in capsys.readouterr().err
    (folder / "notes.txt").unlink()
    first = export_network(tracked(streams="rgb"), folder, "torch")
    assert main(words) == 1
    assert "holds an export already: give another folder, or --overwrite" in capsys.readouterr().err
    again = export_network(tracked(streams="rgb"), folder, "torch", batch=2, overwrite=True)
    assert [path.name for path in first.files] == [path.name for path in again.files]
    assert json.loads((folder / DESCRIPTION).read_text())["batch"] == 2
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match="is a file: give a folder"):
        export_network(tracked(), file, "torch")


@pytest.mark.parametrize(("kind", "extra"), [("onnx", "export"), ("openvino", "openvino")])
def test_a_missing_extra_is_named(kind, extra, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("onnx") else find(name, *rest)
    )
    assert main(["export", "--weights", "rgbt_tiny", "--format", kind, "--output", str(tmp_path / "out")]) == 1
    assert f"pip install 'patrack[{extra}]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_offers_what_can_be_written():
    assert tuple(export.FORMATS) == command.FORMATS
    assert tuple(export.PRECISIONS) == command.PRECISIONS
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--weights", "rgbt_tiny", "--format", "tflite", "--output", "out"])
    assert stopped.value.code == 2


# ---- The example


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rgbt_tiny in ONNX, by the command."""
    needs(*export.FORMATS["onnx"].packages)
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    assert main(["export", "--weights", "rgbt_tiny", "--output", str(folder), "--time", "2"]) == 0
    return folder


def test_the_example_gives_the_boxes_of_the_command(exported, tmp_path):
    noise = np.random.default_rng(0).integers(0, 90, (120, 160, 3), dtype=np.uint8)
    rgb, x = tmp_path / "visible", tmp_path / "infrared"
    rgb.mkdir()
    x.mkdir()
    for k in range(30):  # a square that grows, and leaves the image at the right
        image = noise.copy()
        left, top, side = 52 + 3 * k, 40 + k, 20 + k // 2
        image[top : top + side, left : left + side] = (60, 180, 220)
        image[top + 4 : top + 9, left + 3 : left + 9] = (200, 40, 40)
        assert cv2.imwrite(str(rgb / f"{k}.png"), image)
        assert cv2.imwrite(
            str(x / f"{k}.png"), np.where(image[:, :, 2] > 200, 230, image[:, :, 1] // 2).astype(np.uint8)
        )
    words, out = ["--rgb", str(rgb), "--x", str(x), "--box", "52,40,20,20"], tmp_path / "track"
    assert main(["track", *words, "--weights", "rgbt_tiny", "--device", "cpu", "--no-video", "--output", str(out)]) == 0
    with (out / "track.csv").open(encoding="utf-8") as file:
        wanted = [[float(row[key]) for key in ("x", "y", "w", "h", "score")] for row in csv.DictReader(file)]
    program = (
        "import runpy, sys\n"
        f"sys.argv = {[str(EXAMPLE), str(exported), *words]!r}\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
        "assert not {'torch', 'patrack'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [[float(value) for value in line.split(",")] for line in done.stdout.splitlines()]
    assert len(found) == len(wanted) == 30
    difference = np.abs(np.array(found) - np.array(wanted)).max(axis=0)
    assert difference[:4].max() < 0.05, "pixels"
    assert difference[4] < 1e-3, "score"


def test_the_example_is_short_and_says_what_is_wrong(exported, tmp_path):
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 150
    (tmp_path / "a").mkdir()
    words = [sys.executable, str(EXAMPLE), str(exported), "--rgb", str(tmp_path / "a"), "--box", "1,2,3,4"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the network reads thermal beside RGB: give --x" in done.stderr
