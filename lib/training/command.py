"""The job of tracking/train.py: one run, the repetition of one, or the same one with several seeds."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.distributed import DistributedContext, distributed_context, lost_peer, reason_of, set_up_logging
from lib.training.compare import describe, read_run, write_summary
from lib.training.folder import check_free
from lib.training.manifest import MANIFEST, read_manifest
from lib.training.run import run_training
from lib.training.trainer import Interrupted
from patrack import config as config_files

__all__ = ["run"]

logger = logging.getLogger("train")


def run(arguments: argparse.Namespace) -> int:
    """Does what tracking/train.py was asked to do.

    Args:
        arguments: of that command line.

    Returns:
        Exit code: 0 finished, 1 failed, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        set_up_logging()
        with logging_redirect_tqdm(), distributed_context(device) as context:
            try:
                _train(arguments, device, context)
            except Interrupted as stop:
                if context.is_main:
                    logger.error("%s. Go on with the same command and --resume", stop)
                return stop.exit_code
            except Exception as error:  # said here, while the others can still be asked who failed first
                own = reason_of(error)
                reason = context.first_failure(own)
                is_first = reason.endswith(own)
                expected = isinstance(error, ValueError | OSError | RuntimeError | FloatingPointError)
                logger.error("%s", own if is_first else f"ended because of {reason}", exc_info=not expected)
                if is_first and not lost_peer(error):
                    get_error_handler().record_exception(error)  # torchrun names this process as the root cause
                return 1
    except KeyboardInterrupt:
        logger.error("stopped at once; go on from the last checkpoint with --resume")
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        logger.error("%s: %s", type(error).__name__, error)
        return 1
    return 0


def _train(arguments: argparse.Namespace, device: str, context: DistributedContext) -> None:
    # --seeds and --allow-changes take every word after them, settings as well
    words = [*(arguments.seeds or []), *(arguments.allow_changes or [])]
    overrides = [*arguments.overrides, *(word for word in words if "=" in word)]
    seeds = [word for word in arguments.seeds or [] if "=" not in word]
    for word in seeds:
        if not (word.isascii() and word.isdecimal()):
            raise ValueError(f"--seeds takes numbers from 0, got {word!r}")
    settings: dict[str, Any] = {
        "data_root": arguments.data_root,
        "output": arguments.output or "runs",
        "resume": arguments.resume,
        "overwrite": arguments.overwrite,
        "device": device,
        "context": context,
        "allow_changes": [word for word in arguments.allow_changes or [] if "=" not in word],
        "allow_other_data": arguments.allow_other_data,
    }
    if arguments.repeat:
        folder = Path(arguments.repeat)
        config, before = read_run(folder, overrides)
        settings["output"] = arguments.output or str(folder / "repeat")
        settings["data_root"] = arguments.data_root or os.environ.get("PATRACK_DATA") or before.get("data_root")
        settings["repeat_of"] = folder
        threads = arguments.threads or before.get("threads")
    else:
        seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
        threads, config = arguments.threads, config_files.load(arguments.config, [*overrides, *seed])
    if threads:
        torch.set_num_threads(threads)
    if arguments.seeds is None:
        path = run_training(config, **settings)
        logger.info("finished: %s", path)
        return

    # the same experiment with several seeds
    numbers = [int(word) for word in seeds]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"--seeds takes different numbers, one per run, got {' '.join(map(str, numbers)) or 'none'}")
    configs = [config_files.load(arguments.config, [*overrides, f"seed={seed}"]) for seed in numbers]
    folders = [Path(settings["output"]) / f"seed_{seed}" / config.name for seed in numbers]
    if context.is_main and not (arguments.resume or arguments.overwrite):
        for folder in folders:
            check_free(folder)  # all of them, before hours are spent on the first
    for number, (seeded, folder) in enumerate(zip(configs, folders, strict=True), start=1):
        logger.info("seed %d (run %d of %d)", seeded.seed, number, len(numbers))
        resume = context.broadcast(arguments.resume and (folder / MANIFEST).exists())
        run_training(seeded, **settings | {"output": str(folder.parent), "resume": resume})
    if context.is_main:
        path = write_summary(folders, Path(settings["output"]) / f"{config.name}_seeds.json")
        manifests = [read_manifest(folder) for folder in folders]
        logger.info("finished: %d seeds, %s\n%s", len(numbers), path, describe(manifests))
