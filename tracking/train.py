"""Train an experiment, on one process or on many.

    python tracking/train.py --config rgbt_tiny --data-root DATA [train.epochs=5 ...]
    torchrun --nproc-per-node 8 tracking/train.py --config rgbt_base --data-root DATA
    python tracking/train.py --from runs/rgbt_tiny          # repeat that run
    python tracking/train.py --config rgbt_tiny --data-root DATA --seeds 0 1 2

Stop with Ctrl-C and go on with --resume. Weights, logs and checkpoints go to OUTPUT/NAME/.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import patrack  # noqa: F401 (before PyTorch is loaded, for how its threads wait)
from lib.options import Parser
from patrack.files import user_path

if TYPE_CHECKING:  # PyTorch is loaded where it is used, so that --help answers at once
    from lib.distributed import DistributedContext

logger = logging.getLogger("train")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="name in experiments/, YAML file, or folder of a run")
    what.add_argument("--from", dest="repeat", metavar="RUN", help="repeat the run in this folder (in RUN/repeat/NAME)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--output", help="folder of run folders (default: runs)")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="go on with the run in OUTPUT/NAME")
    earlier.add_argument("--overwrite", action="store_true", help="delete the run in OUTPUT/NAME and start anew")
    add("--allow-changes", nargs="+", metavar="KEY", help="with --resume: settings that may differ from the run's")
    add("--allow-other-data", action="store_true", help="with --from or --resume: only warn if the data have changed")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one; one GPU per process)")
    seed = parser.add_mutually_exclusive_group()
    seed.add_argument("--seed", type=int, help="instead of the config's seed")
    seed.add_argument("--seeds", nargs="+", metavar="N", help="one run each, in OUTPUT/seed_N/NAME; then mean and sd")
    add("--threads", type=int, help="CPU threads of the training process (default: torch's)")
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. train.epochs=5")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.repeat and (arguments.seed is not None or arguments.seeds):
        parser.error("--from repeats the run's own seed; give --config RUN for another one")
    if arguments.allow_changes and not arguments.resume:
        parser.error("--allow-changes needs --resume: it names settings that may differ from those of the run")
    if arguments.allow_other_data and not (arguments.resume or arguments.repeat):
        parser.error("--allow-other-data needs --from or --resume: a new run takes the data that are there")
    # --seeds and --allow-changes take every word after them, settings as well
    for name in ("seeds", "allow_changes"):
        words = getattr(arguments, name)
        if words is not None:
            arguments.overrides += [word for word in words if "=" in word]
            setattr(arguments, name, [word for word in words if "=" not in word])
    return arguments


def run(arguments: argparse.Namespace, device: str, context: DistributedContext) -> None:
    """Trains one run, the repetition of one, or the same one with several seeds.

    Args:
        arguments: of `parse`.
        device: torch device.
        context: the processes that train together.
    """
    import torch

    from lib.training.manifest import MANIFEST, describe, read_manifest, read_run, write_summary
    from lib.training.run import check_free, run_training
    from patrack import config as configs

    for word in arguments.seeds or []:
        if not (word.isascii() and word.isdecimal()):
            raise ValueError(f"--seeds takes numbers from 0, got {word!r}")
    settings: dict[str, Any] = {
        "data_root": arguments.data_root,
        "output": str(user_path(arguments.output or "runs")),
        "resume": arguments.resume,
        "overwrite": arguments.overwrite,
        "device": device,
        "context": context,
        "allow_changes": arguments.allow_changes or [],
        "allow_other_data": arguments.allow_other_data,
    }
    threads = arguments.threads
    if arguments.repeat:
        folder = user_path(arguments.repeat)
        config, before = read_run(folder, arguments.overrides)
        settings["output"] = settings["output"] if arguments.output else str(folder / "repeat")
        settings["data_root"] = arguments.data_root or os.environ.get("PATRACK_DATA") or before.get("data_root")
        settings["repeat_of"] = folder
        threads = threads or before.get("threads")
    else:
        seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
        config = configs.load(arguments.config, [*arguments.overrides, *seed])
    if threads:
        torch.set_num_threads(threads)
    if arguments.seeds is None:
        path = run_training(config, **settings)
        logger.info("finished: %s", path)
        return

    # the same experiment with several seeds
    numbers = [int(word) for word in arguments.seeds]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"--seeds takes different numbers, one per run, got {' '.join(map(str, numbers)) or 'none'}")
    seeded = [configs.load(arguments.config, [*arguments.overrides, f"seed={seed}"]) for seed in numbers]
    folders = [Path(settings["output"]) / f"seed_{seed}" / config.name for seed in numbers]
    if context.is_main and not (arguments.resume or arguments.overwrite):
        for folder in folders:
            check_free(folder)  # all of them, before hours are spent on the first
    for number, (one, folder) in enumerate(zip(seeded, folders, strict=True), start=1):
        logger.info("seed %d (run %d of %d)", one.seed, number, len(numbers))
        resume = context.broadcast(arguments.resume and (folder / MANIFEST).exists())
        run_training(one, **settings | {"output": str(folder.parent), "resume": resume})
    if context.is_main:
        path = write_summary(folders, Path(settings["output"]) / f"{config.name}_seeds.json")
        table = describe([read_manifest(folder) for folder in folders])
        logger.info("finished: %d seeds, %s\n%s", len(numbers), path, table)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 finished, 1 failed, 130 or 143 stopped by Ctrl-C or SIGTERM."""
    arguments = parse(argv)
    import torch
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler
    from tqdm.contrib.logging import logging_redirect_tqdm

    from lib.distributed import distributed_context, lost_peer, reason_of, set_up_logging
    from lib.training.trainer import Interrupted

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        set_up_logging()
        with logging_redirect_tqdm(), distributed_context(device) as context:
            try:
                run(arguments, device, context)
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


if __name__ == "__main__":
    sys.exit(main())
