"""Makes SynthRGBX data sets: draws, renders and writes sequences, in parallel and resumably.

Sequences are written in the shape of LasHeR, DepthTrack and VisEvent: same folders, file names and formats. A row of
`LAYOUTS` says where things are.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from lib.synthetic.compose import make_scene
from lib.synthetic.compose_photos import make_photo_scene
from lib.synthetic.pictures import Pictures, SyntheticError
from lib.synthetic.scene import MODALITIES, Scene, View, render
from lib.synthetic.sensors import DepthSensor, EventSensor, RgbSensor, ThermalSensor, drop_out
from patrack.files import FolderInUse, atomic_write, folder_lock, named_if_full
from patrack.processes import become_worker, terminated_as_interrupted

VERSION = 2  # of what is drawn: another version does not continue a data set, and its scores do not compare
META_NAME = "synthrgbx.json"
SPLITS: tuple[str, ...] = ("train", "val", "test")
MIN_SIZE = (64, 48)
_ATTEMPTS = 60
_DRAWN_SHARE = 0.1  # of the sequences, with pictures
_X_SENSORS: dict[str, type[ThermalSensor] | type[DepthSensor] | type[EventSensor]] = {
    "rgbt": ThermalSensor,
    "rgbd": DepthSensor,
    "rgbe": EventSensor,
}


@dataclass(frozen=True)
class Layout:
    """Folders and file names of one modality pair."""

    folders: dict[str, str]  # split -> folder of its sequences, below the root
    lists: dict[str, str]  # split -> list file, below the root
    # image paths in a sequence, with the frame number from 0, `k`, or from 1, `n`
    rgb: str
    x: str


LAYOUTS: dict[str, Layout] = {
    "rgbt": Layout(
        {"train": "trainingset", "val": "valset", "test": "testingset"},
        {"train": "trainingsetList.txt", "val": "valsetList.txt", "test": "testingsetList.txt"},
        "visible/v{k:03d}.jpg",
        "infrared/i{k:03d}.jpg",
    ),
    "rgbd": Layout(
        dict.fromkeys(SPLITS, "."),
        {split: f"{split}.txt" for split in SPLITS},
        "color/{n:08d}.jpg",
        "depth/{n:08d}.png",
    ),
    "rgbe": Layout(
        {split: split for split in SPLITS},
        {split: f"{split}/{split}list.txt" for split in SPLITS},
        "vis_imgs/frame{k:04d}.bmp",
        "event_imgs/frame{k:04d}.bmp",
    ),
}

# The data sets' own attribute flags, in their order, and our attributes that set them.
_LASHER_FLAGS: dict[str, tuple[str, ...]] = {
    "NO": (), "PO": ("occlusion",), "TO": ("full_occlusion",), "HO": (), "MB": ("motion_blur",),
    "LI": ("darkness",), "HI": ("glare", "overexposure"), "AIV": ("glare", "overexposure", "darkness"),
    "LR": ("small_target",), "DEF": ("deformation", "articulation"), "BC": ("fog",),
    "SA": ("distractor", "similar_rgb"),
    "CM": ("camera_motion",), "TC": ("thermal_crossover",),
    "FL": ("rgb_black", "rgb_frozen", "rgb_noise", "x_black", "x_frozen", "x_noise"),
    "OV": ("out_of_view",), "FM": ("fast_motion",), "SV": ("scale_change",), "ARC": ("aspect_change",),
}  # fmt: skip
_VISEVENT_FLAGS: dict[str, tuple[str, ...]] = {
    "CM": ("camera_motion",), "ROT": ("rotation",), "DEF": ("deformation", "articulation"), "FOC": ("full_occlusion",),
    "LI": ("darkness",), "OV": ("out_of_view",), "POC": ("occlusion",), "VC": (), "SV": ("scale_change",),
    "BC": ("distractor",), "MB": ("motion_blur",), "ARC": ("aspect_change",), "FM": ("fast_motion",),
    "NMO": ("static_scene",), "IV": ("darkness", "glare", "overexposure"), "OE": ("overexposure", "glare"),
    "BOM": ("distractor",),
}  # fmt: skip
_FLAG_FILES = {"rgbt": ("AttriSeqsTxt", _LASHER_FLAGS), "rgbe": ("att", _VISEVENT_FLAGS)}


@dataclass(frozen=True)
class Job:
    """One sequence to make; everything that decides its content."""

    modality: str
    split: str
    index: int
    length: int
    size: tuple[int, int]
    seed: int
    pictures: Path | None = None

    def rng(self, attempt: int) -> np.random.Generator:
        """Make the generator of one attempt; no two (split, modality, index, attempt) share one."""
        key = (self.seed, SPLITS.index(self.split), MODALITIES.index(self.modality), self.index, attempt)
        return np.random.default_rng(key)


@dataclass(frozen=True)
class Frame:
    """A frame as the sensors saw it, and the view behind it, which is the truth."""

    rgb: np.ndarray
    x: np.ndarray
    view: View


def sequence_name(split: str, index: int) -> str:
    """The name of a sequence: `train_0007`."""
    return f"{split}_{index:04d}"


def _acceptable(scene: Scene) -> bool:
    """Tell whether the first frame shows the target and the target mostly stays in the image.

    A drawn target must be clear to see; one of real pictures may be small, huge, and partly outside or hidden.
    """
    position = scene.actors[0].position
    inside = ((position > 0) & (position < (scene.width, scene.height))).all(axis=1)
    if inside.mean() < 0.7:
        return False
    view = render(scene, 1)
    unit = min(1.0, (scene.width * scene.height / (320 * 240)) ** 0.5)
    sides = view.box[2:]
    if not scene.natural:
        small, large = 12 * unit, 0.55 * min(scene.width, scene.height)
        return bool(view.visible > 0.97 and sides.min() >= small and sides.max() <= large and view.contrast > 20)
    covered = sides.prod() / (scene.width * scene.height)
    seen = view.inside > 0.6 and view.occluded < 0.35 and view.contrast > (9 if scene.actors[0].sensed else 16)
    return bool(seen and sides.max() >= 8 * unit and sides.min() >= 4 * unit and covered < 0.7)


_pictures = lru_cache(maxsize=2)(Pictures)


def draw_scene(job: Job) -> tuple[Scene, np.random.Generator]:
    """Draw scenes until one is acceptable; returns it and the generator that its sensors continue with.

    Raises:
        SyntheticError: none of many is acceptable.
    """
    drawn = job.rng(_ATTEMPTS).random() < _DRAWN_SHARE
    for attempt in range(_ATTEMPTS):
        rng = job.rng(attempt)
        if job.pictures is None or drawn:
            scene = make_scene(rng, job.modality, job.length, *job.size)
        else:
            scene = make_photo_scene(rng, job.modality, job.length, *job.size, _pictures(job.pictures))
        if _acceptable(scene):
            return scene, rng
    raise SyntheticError(f"no usable first frame in {_ATTEMPTS} attempts for {job}; use a larger size or another seed")


def _mirrored(index: int, length: int) -> int:
    """A time index that a lag moved before the first or behind the last one, turned back into 0…length."""
    return length - abs(length - abs(index))


def frames(scene: Scene, rng: np.random.Generator) -> Iterator[Frame]:
    """Render and sense a scene frame by frame (length frames).

    With a time shift X looks at an earlier or later moment than RGB, to which the view, and so the box, belongs.
    """
    rgb_sensor, x_sensor = RgbSensor(scene, rng), _X_SENSORS[scene.modality](scene, rng)
    scene.attributes.update(scene.plan.attributes)
    shift, length = scene.plan.time_shift, scene.length
    views: dict[int, View] = {}  # those that the later stream still needs

    def view_at(t: int) -> View:
        if t not in views:
            views[t] = render(scene, t)
        return views[t]

    if isinstance(x_sensor, EventSensor):  # it reports changes: show it the frame before the first
        start = _mirrored(-shift, length)
        x_sensor(view_at(start), start, rng)
    pictures: dict[str, np.ndarray] = {}
    for t in range(1, length + 1):
        x_time = _mirrored(t - shift, length)
        taken = {"rgb": rgb_sensor(view_at(t), t, rng), "x": x_sensor(view_at(x_time), x_time, rng)}
        for outage in scene.plan.outages:
            if outage.start <= t - 1 < outage.end:
                taken[outage.stream] = drop_out(outage, taken[outage.stream], pictures[outage.stream], rng)
        pictures = taken
        yield Frame(pictures["rgb"], pictures["x"], views[t])
        for old in [k for k in views if k <= t - abs(shift)]:
            del views[old]


def _observed(scene: Scene, boxes: np.ndarray, inside: np.ndarray, occluded: np.ndarray) -> None:
    """Note the attributes read off what was rendered: boxes (N, 4), shares inside the image and occluded (N,)."""
    here = inside > 0
    sides = np.sqrt(boxes[here, 2] * boxes[here, 3])
    small = 24 * (scene.width * scene.height / (320 * 240)) ** 0.5
    scene.note(
        out_of_view=bool((inside < 0.5).any()),
        occlusion=bool((occluded > 0.1).any()),
        full_occlusion=bool((here & (occluded > 0.97)).any()),
        small_target=len(sides) > 0 and float(np.median(sides)) < small,
    )


_ENCODING: dict[str, list[int]] = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92],
    ".png": [
        *(cv2.IMWRITE_PNG_COMPRESSION, 1),
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
    ],
    ".bmp": [],
}


def write_frame(folder: Path, modality: str, k: int, rgb: np.ndarray, x: np.ndarray) -> None:
    """Write frame `k` (from 0): `rgb` (H, W, 3) uint8 B,G,R and `x` as its sensor gives it, into a sequence folder."""
    layout = LAYOUTS[modality]
    for pattern, image in ((layout.rgb, rgb), (layout.x, x)):
        path = folder / pattern.format(k=k, n=k + 1)
        if k == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        with named_if_full(path):
            path.write_bytes(cv2.imencode(path.suffix, image, _ENCODING[path.suffix])[1].tobytes())


def write_annotations(folder: Path, modality: str, boxes: np.ndarray, absent: np.ndarray) -> None:
    """Write boxes (N, 4) xywh, pixels, into a sequence's folder.

    An `absent` (N,) frame is `0,0,0,0` (LasHeR, VisEvent) or `nan,nan,nan,nan` (DepthTrack).
    """
    shown = np.where(absent[:, None], np.nan if modality == "rgbd" else 0.0, boxes)
    pattern = "%d" if modality == "rgbt" else "%.4f"
    lines = [",".join("nan" if np.isnan(v) else pattern % v for v in row) for row in shown]
    text = "\n".join(lines) + "\n"
    for name in ("visible.txt", "infrared.txt", "init.txt") if modality == "rgbt" else ("groundtruth.txt",):
        with atomic_write(folder / name) as file:
            file.write(text)
    if modality == "rgbe":
        with atomic_write(folder / "absent_label.txt") as file:
            file.write("".join(f"{int(not a)}\n" for a in absent))


def write_attributes(root: Path, modality: str, name: str, attributes: set[str]) -> None:
    """Write a sequence's attribute names (one line, commas), and the data set's own 0/1 flags where it has some."""
    files = {f"attributes/{name}.txt": ",".join(sorted(attributes))}
    if modality in _FLAG_FILES:
        folder, flags = _FLAG_FILES[modality]
        row = ",".join(str(int(any(a in attributes for a in sources))) for sources in flags.values())
        files |= {f"{folder}/{name}.txt": row, f"{folder}/attributes.txt": "\n".join(flags)}
    for path, text in files.items():
        with atomic_write(root / path) as file:
            file.write(text + "\n")


def _make(root: Path, job: Job) -> str:
    """Write one sequence; its folder appears only when complete."""
    cv2.setNumThreads(1)
    name = sequence_name(job.split, job.index)
    parent = root / LAYOUTS[job.modality].folders[job.split]
    temporary = parent / f".{name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    scene, rng = draw_scene(job)
    seen = []
    for k, frame in enumerate(frames(scene, rng)):
        write_frame(temporary, job.modality, k, frame.rgb, frame.x)
        seen.append([*frame.view.box, frame.view.inside, frame.view.occluded, frame.view.absent])
    boxes, (inside, occluded, absent) = np.array(seen)[:, :4], np.array(seen)[:, 4:].T
    write_annotations(temporary, job.modality, boxes, absent > 0)
    _observed(scene, boxes, inside, occluded)
    write_attributes(root, job.modality, name, scene.attributes)
    temporary.replace(parent / name)
    return name


def generate(
    root: Path,
    modality: str,
    split: str,
    sequences: int,
    length: int = 60,
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[str, bool], None] | None = None,
    pictures: Path | None = None,
) -> list[str]:
    """Make, or complete, one split of one modality pair.

    Args:
        root: folder of this modality pair, such as DATA_ROOT/SynthRGBX/rgbt.
        modality: rgbt (LasHeR-shaped), rgbd (DepthTrack-shaped) or rgbe (VisEvent-shaped).
        split: train, val or test; splits never share a seed.
        sequences: how many; those already there are kept.
        length: frames per sequence.
        size: width and height, pixels, even.
        seed: of the whole data set; the content depends on nothing else, in particular not on `workers`.
        workers: processes; 1 works in this one.
        progress: called for each sequence with its name and whether it was made now (or was there already).
        pictures: folder of real pictures to draw with (scripts/fetch_pictures.py fills one); None: all is drawn. Its
            fingerprint belongs to the data set's parameters.

    Returns:
        The names of the split's sequences, as in its list file.

    Raises:
        SyntheticError: an argument is out of range, the folder is not writable or holds another data set, or the
            folder of pictures is not one, or not readable.
    """
    width, height = size
    rules = {
        f"modality must be one of {MODALITIES}, got {modality!r}": modality in MODALITIES,
        f"split must be one of {SPLITS}, got {split!r}": split in SPLITS,
        f"sequences must be at least 1, got {sequences}": sequences >= 1,
        f"length must be at least 2, got {length}": length >= 2,
        f"workers must be at least 1, got {workers}": workers >= 1,
        f"size must be even and at least {MIN_SIZE[0]}x{MIN_SIZE[1]}, got {width}x{height}": (
            width >= MIN_SIZE[0] and height >= MIN_SIZE[1] and width % 2 == 0 and height % 2 == 0
        ),
        f"seed must not be negative, got {seed}": seed >= 0,
    }
    problems = [rule for rule, kept in rules.items() if not kept]
    if problems:
        raise SyntheticError("; ".join(problems))
    first = Job(modality, split, 0, length, size, seed, None if pictures is None else Path(pictures))
    asked: dict[str, object] = {"version": VERSION, "modality": modality, "size": list(size), "seed": seed}
    if first.pictures is not None:
        asked["pictures"] = Pictures(first.pictures).fingerprint()
    try:
        with folder_lock(root), terminated_as_interrupted():
            return _complete(Path(root), first, asked, sequences, workers, progress)
    except FolderInUse as error:
        raise SyntheticError(str(error)) from None
    except OSError as error:
        raise SyntheticError(f"cannot write the output folder {root} (--output): {error}") from error


def _complete(
    root: Path,
    first: Job,
    asked: dict[str, object],
    sequences: int,
    workers: int,
    progress: Callable[[str, bool], None] | None,
) -> list[str]:
    """Make what is missing of a split, whose folder is this process's own: `first` is the job of its first sequence,
    `asked` are the parameters of the data set.
    """
    modality, split, length = first.modality, first.split, first.length

    # The parameter file: a data set is only continued with the parameters that it was begun with.
    path = root / META_NAME
    lengths: dict[str, int] = {}
    try:
        if path.exists():
            stored = json.loads(path.read_text())
            if stored["version"] != VERSION:
                raise SyntheticError(
                    f"{root} holds SynthRGBX version {stored['version']!r}, this is version {VERSION}: their pictures "
                    "and scores do not compare; choose another --output, or delete that folder"
                )
            lengths = stored["lengths"]
            differing = [k for k in dict.fromkeys([*asked, "pictures"]) if stored.get(k) != asked.get(k)]
            differing = [f"{k} {stored.get(k)!r} (asked {asked.get(k)!r})" for k in differing]
            if lengths.get(split, length) != length:
                differing.append(f"length of {split} {lengths[split]} (asked {length})")
            if differing:
                raise SyntheticError(
                    f"{root} holds a data set made with other parameters: {', '.join(differing)}; "
                    "repeat the command with the stored ones, choose another --output, or delete that folder"
                )
        lengths[split] = length
        with atomic_write(path) as file:
            file.write(json.dumps({**asked, "lengths": lengths}, indent=1) + "\n")
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise SyntheticError(f"{path} is not a SynthRGBX parameter file ({error!r}); delete {root}") from error

    # The sequences that are not there yet, and the list of all.
    layout = LAYOUTS[modality]
    names = [sequence_name(split, index) for index in range(sequences)]
    jobs = []
    for index, name in enumerate(names):
        if not (root / layout.folders[split] / name).is_dir():
            jobs.append(replace(first, index=index))
        elif progress:
            progress(name, False)
    try:
        with contextlib.ExitStack() as stack:
            made = (_make(root, job) for job in jobs)
            if min(workers, len(jobs)) > 1:
                context = multiprocessing.get_context("spawn")
                # Ctrl-C is left to this process: it stops handing out sequences, and those begun are completed.
                pool = ProcessPoolExecutor(min(workers, len(jobs)), context, become_worker)
                stack.callback(pool.shutdown, wait=True, cancel_futures=True)
                futures = [pool.submit(_make, root, job) for job in jobs]
                made = (future.result() for future in as_completed(futures))
            for name in made:
                if progress:
                    progress(name, True)
        with atomic_write(root / layout.lists[split]) as file:
            file.write("".join(f"{name}\n" for name in names))
    except BrokenProcessPool as error:
        raise SyntheticError(
            "a worker was killed, perhaps for want of memory; what is complete is kept, repeat the command to go on "
            "(with fewer --workers)"
        ) from error
    except OSError as error:
        raise SyntheticError(
            f"cannot write below {root} (--output): {error}; what is complete is kept, repeat the command to go on"
        ) from error
    return names
