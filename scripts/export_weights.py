"""Turn a finished training run into a small weights file to give away: 16-bit safetensors with its own description.

python scripts/export_weights.py runs/rgbt_tiny weights/rgbt_tiny.safetensors
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from lib.options import Parser
from patrack.config import load

logger = logging.getLogger("export_weights")


def export(run: Path, output: Path) -> None:
    """Write the run's adapters, or its base model if that was trained, to `output`.

    A base model that started from other weights goes on naming their source and license, through any number of runs.

    Raises:
        ValueError, OSError: the run is incomplete, its base model is missing, or `output` can't be written.
    """
    # here, so that --help needn't wait for PyTorch
    from patrack import adapter_parameters, build_model
    from patrack.build import find_checkpoint
    from patrack.tensorfiles import read_tensors
    from patrack.weights import base_model_path, load_base_model, load_checkpoint, save_adapters, save_base_model

    config = load(run)
    base_model = None if config.model.base_model is None else base_model_path(config.model.base_model)
    model = build_model(config)
    adapters = bool(adapter_parameters(model)) and config.train.trainable == "adapters"
    if adapters:
        if base_model is None:
            raise ValueError(f"{run}: adapters need the base model they were trained on, but model.base_model is null")
        load_base_model(model, base_model)
    checkpoint = find_checkpoint(config, str(run), adapters)
    assert checkpoint is not None  # only an untrained model has none
    load_checkpoint(model, checkpoint)
    settings = config.model_dump(mode="json", include={"seed", "model", "crop", "data", "train"})
    if base_model:  # its file alone: the header is given away, the folders here are not
        settings["model"]["base_model"] = base_model.name
    for section in (settings["data"], *settings["data"]["train"], *settings["data"]["val"]):
        section["root"] = None
    header = {"name": config.name, "modality": config.modality, "config": json.dumps(settings, sort_keys=True)}
    if adapters:
        save_adapters(model, output, header, half=True)
    else:
        if base_model:
            start = read_tensors(base_model)[1]
            for key in ("source", "license", "changes"):  # its own, or those of what it started from
                header |= {f"start_{key}": start[name] for name in (f"start_{key}", key) if name in start}
        save_base_model(model, output, half=True, metadata=header)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the file is written."""
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished training run")
    parser.add_argument("output", type=Path, help="a .safetensors file")
    for flag in ("--device", "--seed"):
        parser.add_argument(flag, help="as for every command; conversion uses neither device nor random numbers")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        export(arguments.run, arguments.output)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
