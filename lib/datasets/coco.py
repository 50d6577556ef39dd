"""COCO 2017 (https://arxiv.org/abs/1405.0312) for training the foundation: every object is a sequence of one image.

Template and search crop then come from the same image, cut and augmented differently. Crowds are left out, and of the
others only objects wider and higher than 50 pixels are trained on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lib.datasets.frames import FrameError, read_frame
from lib.datasets.sequence import DatasetError, FileList, Sequence, select, unknown

__all__ = ["COCO_SPLITS", "check_coco", "load_coco"]

log = logging.getLogger(__name__)

COCO_SPLITS = ("train", "val")
MIN_SIZE = 50.0
_YES, _NO = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)  # shared by hundreds of thousands of sequences
_YES.flags.writeable = _NO.flags.writeable = False


def load_coco(split: str, root: Path, sequences: Iterable[str] | None = None) -> list[Sequence]:
    """Index the objects of `images/<split>2017` that are not too small, named `<image id>_<annotation id>`.

    Args:
        split: "train" or "val".
        root: folder with `images` and `annotations`.
        sequences: only these.

    Raises:
        DatasetError: unknown split, missing folder or file, or one that is not COCO's; unknown sequences.
    """
    if split not in COCO_SPLITS:
        raise DatasetError(f"COCO has no split {unknown(split, COCO_SPLITS)}; it has {', '.join(COCO_SPLITS)}")
    folder, path = root / "images" / f"{split}2017", root / "annotations" / f"instances_{split}2017.json"
    if not folder.is_dir():
        raise DatasetError(f"COCO {split}: no folder of images {folder}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: str(image["file_name"]) for image in content["images"]}
        objects = [item for item in content["annotations"] if not item.get("iscrowd", 0)]
        big = [item for item in objects if item["bbox"][2] > MIN_SIZE and item["bbox"][3] > MIN_SIZE]
        if any(len(item["bbox"]) != 4 for item in big) or any({"id", "image_id"} - item.keys() for item in big):
            raise ValueError("an annotation lacks its id, its image_id or 4 numbers in bbox")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DatasetError(f"{path}: not an instances file of COCO: {type(error).__name__} {error}") from error
    bad = next((name for name in images.values() if Path(name).name != name or name in ("", "..")), None)
    if bad is not None:
        raise DatasetError(f"{path}: image file {bad!r} is not the name of a file")
    log.info("%s: %d of %d objects are above %g x %g pixels", path.name, len(big), len(objects), MIN_SIZE, MIN_SIZE)

    by_name: dict[str, Sequence] = {}
    for item in big:
        image = images.get(item["image_id"])
        if image is None:
            raise DatasetError(f"{path}: annotation {item['id']} belongs to no image (image_id {item['image_id']})")
        name = f"{item['image_id']}_{item['id']}"
        by_name[name] = Sequence(
            name=name,
            modality="rgb",
            rgb_files=FileList(folder, (image,)),
            x_files=None,
            boxes=np.array([item["bbox"]], dtype=np.float64),
            visible=_YES,
            absent=_NO,
            still=True,
        )
    kind = f"object wider and higher than {MIN_SIZE:g} px"
    return list(select(by_name, sequences, f"COCO {split}", kind).values())


def check_coco(split: str, root: Path, images: str = "sample") -> list[tuple[str, list[str]]]:
    """Find errors by object: image missing or damaged, box outside the image. "sample" opens 100 images evenly spaced.

    Raises:
        DatasetError: as `load_coco`.
    """
    sequences = load_coco(split, root)
    step = 1 if images == "all" else max(1, len(sequences) // 100)
    folder = root / "images" / f"{split}2017"
    listed = {entry.name for entry in folder.iterdir()}
    results = []
    for number, sequence in enumerate(sequences):
        errors = []
        assert isinstance(sequence.rgb_files, FileList)
        if sequence.rgb_files.names[0] not in listed:
            errors = [f"{sequence.rgb_files[0]}: missing"]
        elif images != "none" and number % step == 0:
            try:
                height, width = read_frame(sequence, 0).shape[:2]
                x, y, w, h = sequence.boxes[0]
                if not (x < width and y < height and x + w > 0 and y + h > 0):
                    errors = [f"box {[x, y, w, h]} outside the {width}x{height} image"]
            except FrameError as error:
                errors = [str(error)]
        results.append((sequence.name, errors))
    return results
