"""The job of tracking/train.py: one run, the repetition of one, or the same one with several seeds."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.processes import Processes, join_processes, reason_of, set_up_logging
from lib.training.folder import check_free
from lib.training.interrupt import Interrupted
from lib.training.manifest import MANIFEST, read_manifest
from lib.training.repeat import read_run
from lib.training.run import run_training
from lib.training.summary import describe, write_summary
from patrack import config as config_files

__all__ = ["run"]

logger = logging.getLogger("train")

Train = Callable[..., Path]


def run(arguments: argparse.Namespace, train: Train = run_training) -> int:
    """What tracking/train.py was asked to do.

    Args:
        arguments: of that command line.
        train: trains one experiment.

    Returns:
        Exit code: 0 finished, 1 failed, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    processes = Processes()
    try:
        set_up_logging()
        with logging_redirect_tqdm(), join_processes(device) as processes:
            try:
                _run(arguments, train, device, processes)
            except Interrupted as stop:
                if processes.first:
                    logger.error("%s. Go on with the same command and --resume", stop)
                return stop.exit_code
            except Exception as error:  # said here, while the others can still be asked who failed first
                expected = isinstance(error, ValueError | OSError | RuntimeError | FloatingPointError)
                logger.error("%s", _reason(error, processes), exc_info=not expected)
                return 1
    except KeyboardInterrupt:
        logger.error("stopped at once; go on from the last checkpoint with --resume")
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        logger.error("%s: %s", type(error).__name__, error)
        return 1
    return 0


def _reason(error: Exception, processes: Processes) -> str:
    """Why this process fails; of several, what the first one to fail has said."""
    own = reason_of(error)
    reason = processes.first_failure(own)
    return own if reason.endswith(own) else f"ended because of {reason}"


def _run(arguments: argparse.Namespace, train: Train, device: str, processes: Processes) -> None:
    words = [*(arguments.seeds or []), *(arguments.allow_changes or [])]  # these options take every word after them
    overrides = [*arguments.overrides, *(word for word in words if "=" in word)]
    seeds = [_seed(word) for word in arguments.seeds or [] if "=" not in word]
    settings = {
        "data_root": arguments.data_root,
        "output": arguments.output or "runs",
        "resume": arguments.resume,
        "overwrite": arguments.overwrite,
        "device": device,
        "processes": processes,
        "allow_changes": [word for word in arguments.allow_changes or [] if "=" not in word],
        "allow_other_data": arguments.allow_other_data,
    }
    if arguments.repeat:
        folder = Path(arguments.repeat)
        before = read_run(folder, overrides)
        settings["output"] = arguments.output or str(folder / "repeat")
        settings["data_root"] = arguments.data_root or os.environ.get("PATRACK_DATA") or before.data_root
        settings["repeat_of"] = folder
        threads, config = arguments.threads or before.threads, before.config
    else:
        seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
        threads, config = arguments.threads, config_files.load(arguments.config, [*overrides, *seed])
    if threads:
        torch.set_num_threads(threads)
    if arguments.seeds is None:
        path = train(config, **settings)
        logger.info("finished: %s", path)
        return
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds takes different numbers, one per run, got {' '.join(map(str, seeds)) or 'none'}")
    configs = [config_files.load(arguments.config, [*overrides, f"seed={seed}"]) for seed in seeds]
    folders = [Path(settings["output"]) / f"seed_{seed}" / config.name for seed in seeds]
    if processes.first and not (arguments.resume or arguments.overwrite):
        for folder in folders:
            check_free(folder)  # all of them, before hours are spent on the first
    for number, (own, folder) in enumerate(zip(configs, folders, strict=True), start=1):
        logger.info("seed %d (run %d of %d)", own.seed, number, len(seeds))
        resume = processes.from_first(arguments.resume and (folder / MANIFEST).exists())
        train(own, **settings | {"output": str(folder.parent), "resume": resume})
    if processes.first:
        manifests = [read_manifest(folder) for folder in folders]
        path = write_summary(folders, Path(settings["output"]) / f"{config.name}_seeds.json")
        logger.info("finished: %d seeds, %s\n%s", len(seeds), path, describe(manifests))


def _seed(word: str) -> int:
    if not (word.isascii() and word.isdecimal()):
        raise ValueError(f"--seeds takes numbers from 0, got {word!r}")
    return int(word)
