"""Our trackers beside OpenCV's on annotated recordings: tables, all values, and film strips with every box.

    python scripts/compare_recordings.py RECORDINGS --nano NANOTRACK --output runs/compared
    python scripts/compare_recordings.py RECORDINGS --rgb-config runs/rgb --rgbt-config runs/rgbt --output runs/compared
    python scripts/compare_recordings.py RECORDINGS --ours new=runs/rgbt --ours new=runs/rgbd --output runs/compared

RECORDINGS holds folders with RGB frames, perhaps X frames, and a box file, or is one; see docs/evaluation.md. Columns
are our base model on RGB only and on X only, RGB + X, cv2.TrackerNano (its files are not part of the project) and
cv2.TrackerCSRT (where OpenCV has it). OUTPUT gets comparison.md, comparison.json and a strip <recording>.png each.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import cv2
from tqdm import tqdm

from lib.datasets.recordings import find_recordings
from lib.options import Parser
from patrack.modality import modalities
from patrack.recordings.options import read_transform, value_range

logger = logging.getLogger("compare_recordings")

COLUMNS = {"rgb": "RGB", "x": "X", "both": "RGB + X"}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="RECORDINGS", help="a recording, or a folder that holds some")
    add("--output", type=Path, required=True, help="folder for tables and strips")
    add("--nano", type=Path, metavar="FOLDER", help="NanoTrack's two ONNX files (default: without NanoTrack)")
    add("--modality", choices=modalities(), help="what X frames are (default: as their folder's name says)")
    add("--box-step", type=int, metavar="N", help="line k of a box file belongs to frame k * N")
    add("--x-range", metavar="LOW,HIGH", help="values of X that become 0 and 255 (default: each recording's own)")
    add(
        "--x-transform",
        metavar="FILE",
        help="homography from X's pixels to RGB's, 3 x 3 numbers; resize: just another size",
    )
    for modality in modalities():
        what = "experiment or run folder for RGB only" if modality == "rgb" else f"the same for {modality}"
        add(
            f"--{modality}-config", default=f"{modality}_small", metavar="CONFIG", help=f"{what} (default: %(default)s)"
        )
    add("--only", nargs="*", choices=COLUMNS, default=list(COLUMNS), help="which of these three columns (default: all)")
    add(
        "--ours",
        action="append",
        nargs="+",
        default=[],
        metavar=("NAME=CONFIG", "key=value"),
        help="another column: experiment or run folder, and its settings; a name may come once per modality",
    )
    add("--set", nargs="+", default=[], metavar="key=value", help="settings of all of ours, e.g. test.window=false")
    add("--no-strips", action="store_true", help="tables only")
    add("--threads", type=int, help="CPU threads (default: all cores)")
    add("--device", help="torch device of ours (default: cuda if there is one)")
    add("--seed", help="as for every command; nothing here depends on it")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> str:
    """Compare, write everything and return the tables.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used; the message says what.
    """
    # here, so that --help answers at once
    import torch

    from lib.inference.comparison import OUR_COLUMNS, Lineup, compare
    from lib.report.recordings import write_comparison
    from patrack.devices import usable_device

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
    reading = {
        "x_range": value_range(arguments.x_range) if arguments.x_range else None,
        "x_transform": read_transform(arguments.x_transform) if arguments.x_transform else None,
    }
    recordings = [
        recording
        for folder in arguments.folders
        for recording in find_recordings(folder, arguments.modality, arguments.box_step, **reading)
    ]
    names = [recording.name for recording in recordings]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"two recordings of one name: {', '.join(twice)}; rename a folder, or compare them one by one")
    lineup = Lineup({r.modality for r in recordings}, str(usable_device(arguments.device)), arguments.set)
    experiments = {modality: getattr(arguments, f"{modality}_config") for modality in modalities()}
    lineup.add_shipped([COLUMNS[column] for column in arguments.only], experiments)
    for named, *overrides in arguments.ours:
        name, equals, config = named.partition("=")
        if not (name and equals and config) or name in OUR_COLUMNS:
            taken = ", ".join(OUR_COLUMNS)
            raise ValueError(f"--ours {named!r}: must be NAME=CONFIG, with a NAME that isn't one of {taken}")
        lineup.add(name, config, overrides)
    if arguments.nano is not None:
        lineup.add_nano(arguments.nano)
    if not lineup.add_csrt():
        logger.warning("OpenCV %s has no TrackerCSRT (opencv-contrib-python has): without CSRT", cv2.__version__)
    if not lineup.trackers:
        raise ValueError("nothing to compare: every column is left out")
    with tqdm(total=len(recordings) * len(lineup.trackers), unit="run", disable=None) as bar:

        def count(*_: object) -> None:
            bar.update()

        scores = compare(lineup.trackers, recordings, count)
    return write_comparison(arguments.output, recordings, scores, lineup.origins, strips=not arguments.no_strips)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something failed."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        print(run(parse(argv)))
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
