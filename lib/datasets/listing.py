"""Frame files of a folder or a video, in temporal order. Only directories are read, images are not opened."""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2

from lib.datasets.sequence import DatasetError, FileList, Frames, VideoFrame

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "find_frames", "frame_number", "list_frames", "sub_folders"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
LAST_NUMBER = re.compile(r"(\d+)\D*$")


def frame_number(name: str) -> int:
    """The last number in a file name, suffix aside: 7 for `v007.jpg`; -1 where there is none."""
    match = LAST_NUMBER.search(name.rpartition(".")[0] or name)
    return int(match.group(1)) if match else -1


def sub_folders(folder: Path) -> dict[str, Path]:
    """Folders directly below `folder` by name; none if it does not exist."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: folder / entry.name for entry in entries if entry.is_dir()}


def list_frames(source: Path) -> Frames:
    """Frames of an image folder or a video file, in temporal order.

    Images are sorted by the last number in their name, equal numbers by the name itself: names need no padding, no
    common prefix and no particular first number. Hidden files and files of other types are left out.

    Raises:
        DatasetError: nothing at `source`, no image in it, or a video that cannot be decoded.
    """
    if source.is_dir():
        with os.scandir(source) as entries:
            files = [entry.name for entry in entries if entry.is_file()]
        names = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and name[0] != "."]
        if not names:
            raise DatasetError(f"{source}: no image in this folder (looked for *{', *'.join(IMAGE_SUFFIXES)})")
        return FileList(source, sorted(names, key=lambda name: (frame_number(name), name)))
    if source.is_file():
        return tuple(VideoFrame(source, i) for i in range(_count_video_frames(source)))
    raise DatasetError(f"{source}: no such folder of images or video file")


def find_frames(folder: Path, stem: str) -> Frames:
    """Frames in `folder/stem/`, or of a video `folder/stem.mp4` (or another of `VIDEO_SUFFIXES`)."""
    for suffix in VIDEO_SUFFIXES:
        video = folder / (stem + suffix)
        if video.is_file() and not (folder / stem).is_dir():
            return list_frames(video)
    return list_frames(folder / stem)


def _count_video_frames(path: Path) -> int:
    """Count by decoding: what containers say about their length is often off by a few frames."""
    capture = cv2.VideoCapture(str(path))
    try:
        count = 0
        while capture.grab():
            count += 1
    finally:
        capture.release()
    if count == 0:
        raise DatasetError(f"{path}: no frame can be decoded; is it a video file?")
    return count
