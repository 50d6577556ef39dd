"""Write the tracking network as graphs for onnxruntime, OpenVINO or PyTorch without this package.

    patrack export --weights rgbt_small --output exported                        # ONNX, fp32
    patrack export --weights runs/rgbt_base --format openvino --output exported
    python examples/onnx_tracker.py exported --rgb visible/ --x infrared/ --box 120,80,40,60

OUTPUT gets the graphs template and search, and export.json, which tells what a tracker around them needs. They are
compared with PyTorch before the command says that they are done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

FORMATS = ("onnx", "torch", "openvino")
PRECISIONS = ("fp32", "fp16", "int8")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--weights", required=True, metavar="NAME", help="shipped weights, a training run, or a file")
    add("--format", choices=FORMATS, default="onnx", help="(default: onnx)")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the graphs, new or empty")
    add("--precision", choices=PRECISIONS, default="fp32", help="of the weights (default: fp32); int8: onnx only")
    add("--batch", type=int, default=1, metavar="N", help="targets at once, a fixed number (default: 1)")
    add("--modality", choices=("rgbt", "rgbd", "rgbe"), help="what X shows, for weights of a joint model")
    add("--time", type=int, metavar="N", help="time the search graph beside PyTorch, N times by turns, one thread")
    add("--overwrite", action="store_true", help="replace an export that is there")


def run(arguments: argparse.Namespace) -> int:
    """Export.

    Raises:
        ValueError, OSError, RuntimeError, ImportError: something can't be used, or the graphs are wrong; says what.
    """
    from patrack.export import check_packages, export_network, exported_files, time_search

    if arguments.time is not None and arguments.time < 1:
        raise ValueError(f"--time must be at least 1, got {arguments.time}")
    exported_files(arguments.output, arguments.overwrite)  # before the weights are read
    check_packages(arguments.format)
    from patrack.tracker import Tracker

    overrides = [f"modality={arguments.modality}"] if arguments.modality else []
    tracked = Tracker.from_pretrained(arguments.weights, overrides=overrides).adapters.active
    print(f"{tracked.name}: writing {arguments.format}, {arguments.precision}, and comparing it with PyTorch ...")
    export = export_network(
        tracked, arguments.output, arguments.format, arguments.precision, arguments.batch, arguments.overwrite
    )
    inputs, verified = export.description["inputs"], export.description["verified"]
    print(
        f"template: crop {inputs['crop']} uint8 -> z {inputs['z']} {export.description['z_type']}\n"
        f"search: z, x {inputs['x']} uint8 -> score_map, size_map, offset_map\n"
        f"compared on {verified['crops']} crops: maps differ by {verified['map_mean']:.1e} on average, "
        f"{verified['map_max']:.1e} at most; boxes by {verified['box_pixels']:.1e} pixels of the search crop"
    )
    if arguments.time is not None:
        timed = time_search(tracked, arguments.output, arguments.time)
        print(
            f"search, one thread: {timed['graph_ms']:.1f} ms, PyTorch {timed['torch_ms']:.1f} ms of the processor "
            f"({timed['repetitions']} times by turns; PyTorch / graph {timed['ratio']:.2f})"
        )
    for path in export.files:
        print(f"file: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
