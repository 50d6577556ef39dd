"""Follow a target through a recording or through live cameras.

    patrack track --rgb visible/ --x infrared/ --box 120,80,40,60             # folders of images, or videos
    patrack track --rgb both.mp4 --layout side-by-side --box 120,80,40,60     # one video with both pictures
    patrack track --rgb 0 --x rtsp://camera/thermal --show                    # cameras; the box by mouse
    patrack track --rgb color.mp4 --box 120,80,40,60                          # RGB alone

OUTPUT gets track.csv and track.json (frame, time, box, score, lost) and overlay.mp4. Ctrl-C ends it, and what was
tracked is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patrack.files import atomic_write, user_path

if TYPE_CHECKING:
    import numpy as np

    from patrack.recordings.frames import DecodedFrame
    from patrack.tracker import Result

LAYOUTS = ("side-by-side", "stacked")
PARTIAL = "track.partial.csv"
FILES = ("track.csv", "track.json", "overlay.mp4", "explain.mp4", PARTIAL)
FPS = 25.0
"""Frames per second of recordings that don't tell, and in the video of live cameras the most that it can show."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--rgb", required=True, metavar="SOURCE", help="folder of images, video, number of a camera, or its address")
    add("--x", metavar="SOURCE", help="the same of the other sensor, or a file of events (default: none, RGB alone)")
    add("--layout", choices=LAYOUTS, help="--rgb shows both pictures, RGB left or above")
    add("--box", nargs="+", metavar="X,Y,W,H", help="the target in the first frame, pixels (default: drawn by mouse)")
    add(
        "--modality",
        choices=("rgbt", "rgbd", "rgbe"),
        help="what X shows (default: by its name)",
    )
    add("--weights", metavar="NAME", help="shipped weights, a training run, or a file (default: the small ones)")
    add("--x-range", metavar="LOW,HIGH", help="values of X that become 0 and 255 (default: as the images have them)")
    add("--x-transform", metavar="FILE", help="homography from X's pixels to RGB's (3 x 3 numbers), or: resize")
    add("--x-raw", action="store_true", help="the X camera gives 16-bit counts: take them as they are")
    add("--output", type=Path, metavar="DIR", help="folder for the results (default: tracks/ and the source's name)")
    add("--overwrite", action="store_true", help="replace results that are there")
    add("--fps", type=float, help="frames per second of a recording that doesn't tell (default: 25)")
    add("--explain", action="store_true", help="look inside: score, attention, kept tokens, adapters in explain.mp4")
    add("--no-video", action="store_true", help="write no overlay.mp4")
    add("--show", action="store_true", help="show it in a window while it is tracked; q or Esc ends, r: another box")
    add("--frames", type=int, metavar="N", help="end after so many frames")
    add("--patience", type=float, default=10.0, metavar="S", help="seconds that a camera may be silent (default: 10)")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    add("--threads", type=int, help="CPU threads (default: all cores)")


@dataclass
class Shot:
    """A frame: seconds since the first one, what the tracker takes, and the streams that are there."""

    time: float
    frame: DecodedFrame
    present: tuple[bool, bool] = (True, True)


@dataclass
class Source:
    """Frames in order.

    Attributes:
        shots: yields them.
        name: for the results folder.
        fps: frames per second.
        total: number of frames; None: live.
        notes: filled while it is read: counts that the user is told at the end.
        stack: closes it.
    """

    shots: Iterator[Shot]
    name: str
    fps: float
    total: int | None
    notes: dict[str, int] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)


class TrackFiles:
    """The files of a track, as a context manager: rows are on the disk as soon as they are made.

    Args:
        folder: for them; made when the block begins.
        arguments: of the command.
        modality: what X shows.
        source: what is tracked.

    Raises:
        ValueError: they are there already, and aren't to be overwritten.
    """

    def __init__(self, folder: Path, arguments: argparse.Namespace, modality: str, source: Source) -> None:
        there = [name for name in FILES if (folder / name).exists()]
        if there and not arguments.overwrite:
            raise ValueError(
                f"{folder} holds results already ({', '.join(there)}): give another --output, or --overwrite"
            )
        self.folder, self._arguments, self._modality, self._source = folder, arguments, modality, source
        self.results: list[tuple[Result, float]] = []
        self._files = ExitStack()

    def __enter__(self) -> TrackFiles:
        from patrack.recordings.overlay import OverlayVideo
        from patrack.recordings.table import TABLE_HEADER

        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows = self._files.enter_context((self.folder / PARTIAL).open("w", encoding="utf-8", buffering=1))
        self._rows.write(TABLE_HEADER)
        self._video = None
        if not self._arguments.no_video:
            video = OverlayVideo(self.folder / "overlay.mp4", self._modality, self._source.fps)
            self._video = self._files.enter_context(video)
        self._inside = None
        if self._arguments.explain:
            inside = OverlayVideo(self.folder / "explain.mp4", self._modality, self._source.fps)
            self._inside = self._files.enter_context(inside)
        return self

    def write(self, shot: Shot, result: Result, caption: str, inside: np.ndarray | None = None) -> None:
        """Add a frame; `inside` is a picture of what went on in the network, (h, w, 3), B, G, R."""
        from patrack.recordings.table import table_row

        self.results.append((result, shot.time))
        self._rows.write(table_row(result, shot.time))
        if self._video is not None:
            when = shot.time if self._source.total is None else None  # cameras' images come as they come
            self._video.write(shot.frame.image(), result.box, caption, time=when)
        if self._inside is not None and inside is not None:
            self._inside.write_picture(inside, shot.time)

    def __exit__(self, *_: object) -> None:
        """Finish the files, also after a failure: what was tracked is kept."""
        self._files.close()
        write_json(self.folder / "track.json", self._arguments, self._modality, self.results)
        (self.folder / PARTIAL).replace(self.folder / "track.csv")
        lost = sum(result.lost for result, _ in self.results)
        print(f"{len(self.results)} frames, target lost in {lost}")
        for note, count in self._source.notes.items():
            if count:
                print(f"{count} {note}")
        for name in FILES:
            if (self.folder / name).exists():
                print(f"file: {self.folder / name}")


def run(arguments: argparse.Namespace) -> int:
    """Track.

    Raises:
        ValueError, OSError, RuntimeError, ImportError: something can't be used; says what.
    """
    from patrack import gui
    from patrack.recordings.options import parse_box

    box = None if arguments.box is None else parse_box(",".join(arguments.box))
    for name in ("fps", "frames", "threads", "patience"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name} must be above 0, got {value:g}")
    if arguments.layout and arguments.x:
        raise ValueError("--layout says that --rgb shows both pictures: leave --x out")
    if box is None or arguments.show:
        gui.check("--show" if box is not None else "without --box x,y,w,h the target's box is drawn by mouse, which")

    import torch

    from patrack.explain import Explainer, draw_insight

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    modality = modality_of(arguments)
    source = open_source(arguments, modality)
    with source.stack as stack:
        files = TrackFiles(arguments.output or Path("tracks", source.name), arguments, modality, source)
        tracker = make_tracker(arguments, modality)
        shot = next(source.shots, None)
        if shot is None:
            raise ValueError(f"{arguments.rgb}: no frame")
        window = stack.enter_context(gui.Window("PATrack")) if box is None or arguments.show else None
        if box is None:
            assert window is not None
            box = window.select_box(shot.frame.image(), modality)
        result = tracker.initialize(shot.frame, box, present=shot.present)  # a bad box leaves no files
        explainer = Explainer(tracker) if arguments.explain else None
        inside: np.ndarray | None = None
        with files, bar(source.total, arguments.frames) as progress:
            while shot is not None:
                caption = f"frame {result.number}  score {result.score:.3f}" + ("  lost" if result.lost else "")
                files.write(shot, result, caption, inside)
                progress.update()
                if window is not None:
                    asked = window.show(shot.frame.image(), result.box, caption, modality)
                    if asked == "box":
                        box = window.select_box(shot.frame.image(), modality)
                        tracker.initialize(shot.frame, box, present=shot.present)
                    elif asked == "end":
                        break
                number = len(files.results)
                shot = None if number == arguments.frames else next(source.shots, None)
                if shot is not None:
                    if explainer is None:
                        result = tracker.track(shot.frame, present=shot.present)
                    else:
                        result, insight, crop = explainer.track(shot.frame, present=shot.present)
                        inside = None
                        if insight is not None and crop is not None:
                            inside = draw_insight(insight, crop, modality)
                    result.number = number  # of the video, also after another box
    return 0


def modality_of(arguments: argparse.Namespace) -> str:
    """Tell what X shows: as asked for, by the names of weights and source, else thermal; "rgb" without X."""
    from patrack.recordings.live import is_camera
    from patrack.video import modality_of_x

    if arguments.x is None and arguments.layout is None:
        return "rgb"
    if arguments.modality:
        return str(arguments.modality)
    x = None if arguments.x is None or is_camera(arguments.x) else user_path(arguments.x)
    return modality_of_x(x, arguments.weights)


def make_tracker(arguments: argparse.Namespace, modality: str) -> Any:
    """Load the weights."""
    from patrack.devices import usable_device
    from patrack.tracker import Tracker

    name = arguments.weights or f"{modality}_small"
    overrides = [f"modality={modality}"] if Path(name).name.startswith("rgbx_") else []
    return Tracker.from_pretrained(name, device=usable_device(arguments.device), overrides=overrides)


def open_source(arguments: argparse.Namespace, modality: str) -> Source:
    """Open what is tracked.

    Raises:
        ValueError: it isn't there, or can't be used.
    """
    from patrack.recordings.live import is_camera

    options: dict[str, Any] = {}
    if arguments.x_range:
        from patrack.recordings.options import value_range

        options["x_range"] = value_range(arguments.x_range)
    if arguments.x_transform:
        from patrack.recordings.options import read_transform

        options["x_transform"] = read_transform(arguments.x_transform)
    live = [is_camera(source) for source in (arguments.rgb, arguments.x) if source is not None]
    if any(live) and not all(live):
        raise ValueError("--rgb and --x must both be cameras, or both be recordings")
    if any(live):
        return live_source(arguments, modality, options)
    if arguments.layout:
        return split_source(arguments, modality, options)
    return recorded_source(arguments, modality, options)


def recorded_source(arguments: argparse.Namespace, modality: str, options: dict[str, Any]) -> Source:
    """Take two recordings, or RGB alone."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from patrack.recordings.prefetch import PrefetchedFrames
    from patrack.recordings.recording import open_recording
    from patrack.recordings.timing import source_times

    rgb = user_path(arguments.rgb)
    x = None if arguments.x is None else user_path(arguments.x)
    recording = open_recording(rgb, x, modality, fps=arguments.fps, **options)
    told = None if arguments.fps else source_times(recording.rgb_files)
    fps = arguments.fps or (told[1] if told else FPS)
    times = told[0] if told else np.arange(len(recording)) / fps
    stack = ExitStack()
    threads = stack.enter_context(ThreadPoolExecutor(2))

    def shots() -> Iterator[Shot]:
        frames = PrefetchedFrames(recording, threads, 4)
        for number in range(len(recording)):
            yield Shot(float(times[number]), frames.take().result(), recording.streams_at(number))

    return Source(shots(), rgb.stem or "recording", fps, len(recording), stack=stack)


def split_source(arguments: argparse.Namespace, modality: str, options: dict[str, Any]) -> Source:
    """Take one recording that shows both pictures."""
    from patrack.recordings.frames import RGB_FLAGS, read_image
    from patrack.recordings.images import ImagePairs
    from patrack.recordings.listing import list_frames
    from patrack.recordings.timing import source_times

    path = user_path(arguments.rgb)
    files: list[Any] = list(list_frames(path))
    told = None if arguments.fps else source_times(files)
    fps = arguments.fps or (told[1] if told else FPS)
    images, videos = ImagePairs(modality, bgr=True, **options), dict[Path, Any]()

    def shots() -> Iterator[Shot]:
        for number, file in enumerate(files):
            rgb, x = halves(read_image(file, RGB_FLAGS, videos), arguments.layout)
            yield Shot(number / fps, images.frame(rgb, x))

    return Source(shots(), path.stem or "recording", fps, len(files))


def live_source(arguments: argparse.Namespace, modality: str, options: dict[str, Any]) -> Source:
    """Take one or two cameras."""
    import numpy as np

    from patrack.recordings.frames import DecodedFrame, Plane
    from patrack.recordings.images import ImagePairs
    from patrack.recordings.live import Camera, LivePair

    patience = arguments.patience
    rgb = Camera(arguments.rgb, "RGB", patience)
    x = None if arguments.x is None else Camera(arguments.x, "X", patience, raw=arguments.x_raw)
    pair, images = LivePair(rgb, x), ImagePairs(modality, bgr=True, **options)
    source = Source(iter(()), time.strftime("live-%Y%m%d-%H%M%S"), FPS, None)
    source.stack.callback(pair.close)

    def shots() -> Iterator[Shot]:
        for live in pair:
            source.notes = {
                "frames were skipped to keep up": pair.skipped,
                "frames had no X image close enough in time": pair.without_x,
                "times a camera was opened again": rgb.reopened + (x.reopened if x else 0),
            }
            first, second = (live.rgb, live.x) if not arguments.layout else halves(live.rgb, arguments.layout)
            frame = images.frame(first, second)
            if modality != "rgb" and second is None:
                black = Plane(np.zeros(frame.shape[:2], np.uint8))
                yield Shot(live.time, DecodedFrame((*frame.planes, black)), (True, False))
            else:
                yield Shot(live.time, frame)

    source.shots = shots()
    return source


def halves(image: np.ndarray, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """Split a picture (H, W, 3) that shows RGB and X side by side or stacked."""
    height, width = image.shape[:2]
    if layout == "stacked":
        return image[: height // 2], image[height // 2 : height // 2 * 2]
    return image[:, : width // 2], image[:, width // 2 : width // 2 * 2]


def bar(total: int | None, limit: int | None) -> Any:
    """Make a progress bar."""
    from tqdm import tqdm

    counts = [count for count in (total, limit) if count is not None]
    return tqdm(total=min(counts) if counts else None, unit="frame")


def write_json(path: Path, arguments: argparse.Namespace, modality: str, results: list[tuple[Result, float]]) -> None:
    """Write the track with what it was made of."""
    whole = {
        "rgb": str(arguments.rgb),
        "x": arguments.x,
        "layout": arguments.layout,
        "modality": modality,
        "weights": arguments.weights or f"{modality}_small",
    }
    rows = [
        {
            "frame": result.number,
            "time": round(when, 6),
            "box": [round(value, 4) for value in result.box.tolist()],
            "score": round(result.score, 6),
            "lost": result.lost,
        }
        for result, when in results
    ]
    with atomic_write(path) as file:  # a line per frame
        file.write(json.dumps(whole, indent=1)[:-2] + ',\n "frames": [\n  ')
        file.write(",\n  ".join(map(json.dumps, rows)) + "\n ]\n}\n")
