"""The tracking network as two graphs that run without this package: in onnxruntime, OpenVINO or PyTorch alone.

    template: crop (B, Hz, Wz, C) uint8 -> z (B, S, Nz, D), once per target
    search:   z, x (B, Hx, Wx, C) uint8 -> score_map (B, 1, h, w), size_map, offset_map (B, 2, h, w), for every frame

C is R, G, B and then the three channels of X, bytes as they are: normalization is folded in. Weights are those of
`patrack.fused.FusedNetwork`. What stands before and behind the graphs (crops, window, box) is told by export.json.
Every export is compared with the network in PyTorch before it counts as done.
Legend: B targets, a fixed number; S streams (1 or 2, RGB first); Nz template tokens, of two templates one after the
other; D channels; h, w cells of the search crop.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from patrack import __version__
from patrack.adapters import FOLDING_TOLERANCE, TF32_TOLERANCE, TrackingModel
from patrack.crop import OUTLINE_COLOR, hann_window
from patrack.files import file_sha256
from patrack.fused import FOLDED_NETWORKS, FusedNetwork, unfoldable
from patrack.head import decode_boxes
from patrack.modality import PAIRS
from patrack.network import Network
from patrack.target import FOUND_WITHIN, TRIALS, Target
from patrack.tracker import LOST_BELOW
from patrack.weights import model_hash

__all__ = [
    "DESCRIPTION",
    "FORMATS",
    "PRECISIONS",
    "Export",
    "ExportError",
    "export_network",
    "load_graph",
    "time_search",
]

DESCRIPTION = "export.json"
OPSET = 20
"""Of ONNX: the first with GELU as one operator."""
MAPS = ("score_map", "size_map", "offset_map")
PRECISIONS = {
    "fp32": FOLDING_TOLERANCE[torch.float32],
    "fp16": FOLDING_TOLERANCE[torch.float16],
    "int8": 0.05,
}
"""Greatest mean difference of a map from PyTorch's in fp32 that an export may have."""
CROPS = 4
"""Crops that an export is compared on, at least."""


class ExportError(RuntimeError):
    """The graphs that were written compute something else than the network."""


@dataclass(frozen=True)
class Format:
    """A format of graphs.

    Attributes:
        files: suffixes of a graph's files, the first of which is opened.
        packages: what writes and runs it.
        extra: of this package that installs them.
        precisions: of `PRECISIONS`.
    """

    files: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    precisions: tuple[str, ...]


FORMATS = {
    "onnx": Format((".onnx",), ("onnx", "onnxscript", "onnxruntime"), "export", ("fp32", "fp16", "int8")),
    "torch": Format((".pt2",), (), "", ("fp32", "fp16")),
    "openvino": Format((".xml", ".bin"), ("onnx", "onnxscript", "openvino"), "openvino", ("fp32", "fp16")),
}


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        files: of the graphs, and `DESCRIPTION`.
        description: what stands in it.
    """

    files: list[Path]
    description: dict[str, Any]


# ---- The two graphs


class TemplateGraph(nn.Module):
    """The first of the module's two graphs: `FusedNetwork.embed_template`, without the rest of the network."""

    position: Tensor

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.patches, self.rows = network.patches, network.rows
        self.register_buffer("position", network.pos_embed_z)

    def forward(self, crop: Tensor) -> Tensor:
        """Crop -> z; see the module."""
        tokens: Tensor = self.patches(crop) + self.position
        return tokens.unflatten(0, (self.rows, -1)).transpose(0, 1).contiguous()


class SearchGraph(nn.Module):
    """The second one."""

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Template tokens and search crop -> the maps; see the module."""
        rows = z.transpose(0, 1).flatten(0, 1)
        if self.network.templates > 1:
            rows = rows.unflatten(1, (self.network.templates, -1))
        output = self.network(rows, x)
        return {name: output[name] for name in MAPS}


# ---- Writing and running them


def check_packages(kind: str) -> None:
    """Stop early where a format can't be written.

    Raises:
        ImportError: its packages aren't installed.
    """
    missing = [name for name in FORMATS[kind].packages if importlib.util.find_spec(name) is None]
    if missing:
        extra = FORMATS[kind].extra
        raise ImportError(f"the format {kind} needs {', '.join(missing)}: pip install 'patrack[{extra}]'")


def write_graph(graph: nn.Module, inputs: Sequence[Tensor], path: Path, kind: str, precision: str) -> None:
    """Write a graph, traced with these inputs."""
    names: dict[str, list[str]] = {"crop": ["z"]} if isinstance(graph, TemplateGraph) else {"z": [], "x": list(MAPS)}
    program = torch.export.export(graph, tuple(inputs), strict=False)
    forget_sources(program)
    if kind == "torch":
        with quiet():
            torch.export.save(program, path)
        return
    onnx_path = path.with_suffix(".onnx")
    with quiet():
        written = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(names),
            output_names=[name for outputs in names.values() for name in outputs],
            opset_version=OPSET,
            verbose=False,
        )
        assert written is not None
        written.save(onnx_path, external_data=False)
    if kind == "onnx" and precision == "int8" and isinstance(graph, SearchGraph):
        quantize(onnx_path)
    if kind == "openvino":
        import openvino

        openvino.save_model(openvino.convert_model(onnx_path), path, compress_to_fp16=precision == "fp16")
        onnx_path.unlink()


def forget_sources(program: torch.export.ExportedProgram) -> None:
    """Forget where the lines of the program's source lie on this machine."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)


def quantize(path: Path) -> None:
    """Turn the weights of a graph's matrix products into 8 bits, in place; activations are scaled as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_name("fp32.onnx")
    path.rename(whole)
    graph = onnx.load(whole).graph
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    # onnxruntime has no product of 8 bits with a stack of matrices, one for each stream
    others = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] not in matrices]
    with quiet():
        quantize_dynamic(
            whole,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=others,
        )
    whole.unlink()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what the exporter says about each of its steps."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def load_graph(path: Path, threads: int = 1) -> Callable[..., list[np.ndarray]]:
    """Open a graph that was written: arrays by the names of its inputs, in their order -> its outputs.

    Args:
        path: of it.
        threads: of onnxruntime and OpenVINO; PyTorch's are those of the process.
    """
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda **inputs: session.run(None, inputs)
    if path.suffix == ".xml":
        import openvino

        # otherwise bf16 where the CPU has it
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(path, "CPU", hints)
        return lambda **inputs: [output.copy() for output in compiled(inputs).values()]
    program = torch.export.load(path).module()

    def run(**inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = program(*map(torch.from_numpy, inputs.values()))
        return [output.numpy() for output in (outputs.values() if isinstance(outputs, dict) else [outputs])]

    return run


# ---- The comparison


def crops_to_compare(tracked: TrackingModel, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut template and search crops, (H, W, C) uint8, from pictures of something that moves over a background."""
    channels = 3 if tracked.network.streams == "rgb" else 6
    generator = np.random.default_rng(0)
    for _ in range(count):
        textures = [generator.uniform(0, 80, (side, side, channels)) for side in (4, 16, 64)]
        background = np.sum([cv2.resize(texture, (320, 240), interpolation=cv2.INTER_CUBIC) for texture in textures], 0)
        width, height = generator.integers(30, 60, 2).tolist()
        pattern = cv2.resize(generator.uniform(0, 255, (3, 3, channels)), (width, height))
        frames = []
        for left, top in ((120, 90), (120 + generator.integers(-20, 21), 90 + generator.integers(-20, 21))):
            frame = background.copy()
            frame[top : top + height, left : left + width] = pattern
            frames.append(frame.clip(0, 255).astype(np.uint8))
        target = Target(tracked.network, tracked.settings, frames[0], (120, 90, width, height))
        crop = target.search_crop(frames[1])
        assert crop is not None
        yield target.template, crop


@torch.inference_mode()
def compare(
    network: FusedNetwork, tracked: TrackingModel, folder: Path, kind: str, precision: str, batch: int
) -> dict[str, Any]:
    """Run the graphs beside the network.

    Args:
        network: in fp32.
        tracked: whose settings are used.
        folder: where the graphs lie.
        kind, precision, batch: of them.

    Returns:
        How much they differ, as it stands in export.json.

    Raises:
        ExportError: by more than `PRECISIONS` allows.
    """
    suffix = FORMATS[kind].files[0]
    template, search = (load_graph(folder / f"{name}{suffix}") for name in ("template", "search"))
    count = -(-CROPS // batch) * batch
    crops = list(crops_to_compare(tracked, count))
    window = torch.from_numpy(hann_window(network.search_grid))
    means: list[float] = []
    most: list[float] = []
    boxes: list[float] = []
    scores: list[float] = []
    for first in range(0, count, batch):
        z, x = (np.stack(images) for images in zip(*crops[first : first + batch], strict=True))
        tokens = TemplateGraph(network)(torch.from_numpy(z))
        wanted = SearchGraph(network)(tokens.repeat(1, 1, network.templates, 1), torch.from_numpy(x))
        embedded = template(crop=z)[0]
        found = search(z=np.tile(embedded, (1, 1, network.templates, 1)), x=x)
        maps = [[torch.from_numpy(found[k]) for k in range(len(MAPS))], [wanted[name] for name in MAPS]]
        differences = [(a.double() - b.double()).abs() for a, b in zip(*maps, strict=True)]
        means += [float(difference.mean()) for difference in differences]
        most += [float(difference.max()) for difference in differences]
        centers = [decode_boxes(score * window, size, offset) for score, size, offset in maps]
        boxes.append(float((centers[0] - centers[1]).abs().max()) * network.search_size)
        scores.append(float((maps[1][0] * window).flatten(1).amax(1).mean()))
    difference = float(np.max(means))  # NaN if one of them is
    if not difference <= PRECISIONS[precision]:
        raise ExportError(
            f"the exported graphs compute something else than the network: their maps differ by {difference:.2g} on "
            f"average ({PRECISIONS[precision]:g} is allowed in {precision}), boxes by {np.max(boxes):.2g} pixels of "
            "the search crop; nothing was kept"
        )
    return {
        "crops": count,
        "map_mean": difference,
        "map_max": float(np.max(most)),
        "box_pixels": float(np.max(boxes)),
        "mean_score": float(np.mean(scores)),
    }


@torch.inference_mode()
def time_search(tracked: TrackingModel, folder: Path, repetitions: int) -> dict[str, Any]:
    """Time the search graph and the network in PyTorch, by turns, each with one thread.

    Times are of the processor, not of the clock, so that other processes hardly count.

    Args:
        tracked: the model that was exported.
        folder: of the export.
        repetitions: after three of both that don't count.

    Returns:
        Medians in milliseconds, and the median of the repetitions' ratios: above 1, the graph is faster.
    """
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    search = load_graph(folder / f"search{FORMATS[described['format']].files[0]}")
    network = folded_network(tracked)
    network.pack()  # as for tracking
    graph = SearchGraph(network)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, described["inputs"]["x"], np.uint8)
    z = generator.standard_normal(described["inputs"]["z"])
    inputs = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(x)
    z = z.astype(described["z_type"])
    threads = torch.get_num_threads()
    times: list[tuple[float, float]] = []
    torch.set_num_threads(1)
    try:
        for _ in range(3 + repetitions):
            first = time.process_time()
            graph(*inputs)
            second = time.process_time()
            search(z=z, x=x)
            times.append((second - first, time.process_time() - second))
    finally:
        torch.set_num_threads(threads)
    torch_seconds, graph_seconds = np.array(times[3:]).T
    return {
        "repetitions": repetitions,
        "torch_ms": 1000 * float(np.median(torch_seconds)),
        "graph_ms": 1000 * float(np.median(graph_seconds)),
        "ratio": float(np.median(torch_seconds / graph_seconds)),
    }


# ---- All of it


def export_network(
    tracked: TrackingModel,
    folder: Path,
    kind: str = "onnx",
    precision: str = "fp32",
    batch: int = 1,
    overwrite: bool = False,
) -> Export:
    """Write the graphs of a model that tracks, compare them with it, and say in export.json how they are used.

        tracker = Tracker.from_pretrained("rgbt_small")
        export_network(tracker.adapters.active, Path("exported"))

    Args:
        tracked: the model, in any precision.
        folder: new or empty.
        kind: one of `FORMATS`.
        precision: one of `PRECISIONS`. "int8": weights of matrix products in 8 bits, ONNX only.
        batch: targets at once, a fixed number.
        overwrite: replace an export that is in the folder.

    Raises:
        ValueError: unknown format, a precision that it doesn't have, a network that can't be folded, or the folder
            holds something.
        ImportError: the format's packages aren't installed.
        ExportError: the graphs compute something else; nothing is left of them.
    """
    if kind not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {kind!r}")
    if precision not in FORMATS[kind].precisions:
        raise ValueError(f"{kind} is written in {', '.join(FORMATS[kind].precisions)}, got precision {precision!r}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    check_packages(kind)
    before = exported_files(folder, overwrite)
    network = folded_network(tracked)
    check_folding(tracked, network)
    whole = network
    if precision == "fp16" and kind != "openvino":  # OpenVINO stores halves of what is exported in full
        assert isinstance(tracked.model, Network)
        whole = FusedNetwork(tracked.model, torch.float16, network.modality).cpu()
    names = [f"{name}{suffix}" for name in ("template", "search") for suffix in FORMATS[kind].files]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as unfinished:
        place, suffix = Path(unfinished), FORMATS[kind].files[0]
        channels = 3 if network.streams == "rgb" else 6
        crop, x = (
            torch.zeros(batch, size, size, channels, dtype=torch.uint8)
            for size in (network.template_size, network.search_size)
        )
        with torch.no_grad():
            z = TemplateGraph(whole)(crop).repeat(1, 1, whole.templates, 1)
            write_graph(TemplateGraph(whole).eval(), (crop,), place / f"template{suffix}", kind, precision)
            write_graph(SearchGraph(whole).eval(), (z, x), place / f"search{suffix}", kind, precision)
        description = {
            "format": kind,
            "precision": precision,
            "batch": batch,
            **describe(tracked, network),
            "inputs": {"crop": list(crop.shape), "z": list(z.shape), "x": list(x.shape)},
            "z_type": str(z.dtype).removeprefix("torch."),
            "verified": compare(network, tracked, place, kind, precision, batch),
            "files_sha256": {name: file_sha256(place / name) for name in names},
            "versions": {
                "patrack": __version__,
                **{name: importlib.metadata.version(name) for name in ("torch", *FORMATS[kind].packages)},
            },
        }
        text = json.dumps(description, indent=1) + "\n"
        (place / DESCRIPTION).write_text(text, encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for path in before:
            path.unlink()
        for name in (*names, DESCRIPTION):
            shutil.move(place / name, folder / name)
    return Export([folder / name for name in (*names, DESCRIPTION)], description)


def exported_files(folder: Path, overwrite: bool) -> list[Path]:
    """List the files of an earlier export, which a new one replaces.

    Raises:
        ValueError: the folder is a file, holds something else, or an export that isn't to be overwritten.
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder")
    there = sorted(folder.iterdir())
    ours = {DESCRIPTION} | {
        f"{name}{suffix}" for name in ("template", "search") for kind in FORMATS.values() for suffix in kind.files
    }
    others = [path.name for path in there if path.name not in ours]
    if others or (there and not (folder / DESCRIPTION).is_file()):
        shown = ", ".join(others[:3] or [path.name for path in there[:3]])
        raise ValueError(f"{folder} holds something else ({shown}): give a new or empty folder")
    if there and not overwrite:
        raise ValueError(f"{folder} holds an export already: give another folder, or --overwrite")
    return there


def folded_network(tracked: TrackingModel) -> FusedNetwork:
    """Fold the model anew: on the CPU, in fp32, with weights that aren't packed for PyTorch.

    Raises:
        ValueError: it can't be folded.
    """
    model = tracked.model
    if isinstance(model, Network):
        reason = unfoldable(model)
    else:
        reason = f"{type(model).__name__} is no network of PATrack's"
    if reason:
        able = ", ".join(kind.__name__ for kind in FOLDED_NETWORKS[1:])
        raise ValueError(
            f"{tracked.name or 'the network'} can't be exported, since it can't be folded: {reason}. What can be: "
            f"{able}, and a base model alone (see patrack.fused)"
        )
    assert isinstance(model, Network)
    return FusedNetwork(model, torch.float32, None if tracked.modality == "rgb" else tracked.modality).cpu()


@torch.inference_mode()
def check_folding(tracked: TrackingModel, network: FusedNetwork) -> None:
    """Compare the folded network with the model, as the tracker does on a first frame.

    Raises:
        ExportError: they compute something else.
    """
    assert isinstance(tracked.model, Network)
    template, search = next(crops_to_compare(tracked, 1))
    difference = network.difference(tracked.model, torch.from_numpy(template), torch.from_numpy(search))
    parameter = next(tracked.model.parameters())
    allowed = max(FOLDING_TOLERANCE[parameter.dtype], TF32_TOLERANCE if parameter.device.type == "cuda" else 0.0)
    if not difference <= allowed:
        raise ExportError(
            f"the folded network isn't the model that it was made from: their maps differ by {difference:.2g} on "
            f"average ({allowed:g} is allowed); check the weights for NaN"
        )


def describe(tracked: TrackingModel, network: FusedNetwork) -> dict[str, Any]:
    """Tell what a tracker around the graphs needs to know."""
    assert isinstance(tracked.model, Network)
    crop, test = tracked.settings.crop, tracked.settings.test
    pair = PAIRS.get(tracked.modality or "")
    return {
        "name": tracked.name,
        "method": type(tracked.model).__name__,
        "modality": tracked.modality or "rgb",
        "streams": network.streams,
        "channels": "R, G, B" if network.streams == "rgb" else "R, G, B, then the three channels of X",
        "x": None if pair is None else {"kind": pair.kind, "bgr": pair.bgr, "nothing": list(pair.nothing)},
        "template_size": network.template_size,
        "search_size": network.search_size,
        "grid": network.search_grid,
        "templates": network.templates,
        "template_factor": crop.template_factor,
        "search_factor": crop.search_factor,
        "template_outline": crop.template_outline,
        "outline_color": list(OUTLINE_COLOR),
        "window": test.window,
        "clip_margin": test.clip_margin,
        "size_update": test.size_update,
        "size_calibration": test.size_calibration,
        "calibration_trials": [list(trial) for trial in TRIALS],
        "calibration_found_within": FOUND_WITHIN,
        "template_update": test.template_update.model_dump(mode="json"),
        "lost_below": LOST_BELOW,
        "weights_sha256": model_hash(tracked.model),
    }
