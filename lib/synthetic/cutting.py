"""Cutting objects out of photographs and video: masks, and pictures with a soft transparent edge."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["cut_out", "is_photograph", "moving_things", "photo_regions"]

_EDGE = 6  # pixels at which two masks of consecutive frames may have grown apart and still be one thing


def cut_out(
    image: np.ndarray, mask: np.ndarray, longest: int = 320
) -> tuple[np.ndarray, tuple[int, int, int, int]] | None:
    """The masked part of a picture, its edge moved inwards by about a pixel and softened.

    Args:
        image: (H, W, 3) uint8, B,G,R.
        mask: (H, W) bool.
        longest: the result's longer side is at most this, pixels.

    Returns:
        (h, w, 4) uint8, B,G,R,A, not multiplied by alpha, cropped to the mask, and where it was in the picture, xywh in
        pixels; None if nothing of it is left.
    """
    solid = cv2.erode(mask.astype(np.uint8) * 255, np.ones((3, 3), np.uint8), borderValue=0)
    x, y, w, h = cv2.boundingRect(solid)
    if w < 4 or h < 4:
        return None
    left, top = max(0, x - 1), max(0, y - 1)
    window = np.s_[top : y + h + 1, left : x + w + 1]
    cut = np.dstack([image, cv2.GaussianBlur(solid, (0, 0), 0.8, borderType=cv2.BORDER_CONSTANT)])[window]
    box = (left, top, cut.shape[1], cut.shape[0])
    scale = longest / max(cut.shape[:2])
    return cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else cut, box


def is_photograph(cut: np.ndarray) -> bool:
    """Whether a picture (h, w, 4) uint8 B,G,R,A has the grain of a photograph; a drawing has flat areas."""
    same = (np.abs(np.diff(cut[..., :3].astype(np.int16), axis=1)).max(axis=2) == 0) & (cut[:, 1:, 3] > 200)
    solid = int((cut[:, 1:, 3] > 200).sum())
    colors = len(np.unique((cut[cut[..., 3] > 200][:, :3] >> 3) @ np.array([1, 32, 1024])))
    return solid > 400 and same.sum() < 0.22 * solid and colors > 60


def _solid_parts(mask: np.ndarray, low: float, high: float) -> list[np.ndarray]:
    """The connected parts of a mask with holes filled, of an area between `low` and `high` pixels, largest first."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        if low <= cv2.contourArea(contour) <= high:
            part = np.zeros(mask.shape, np.uint8)
            cv2.drawContours(part, [contour], -1, 1, cv2.FILLED)
            parts.append(part.astype(bool))
    return parts


def photo_regions(image: np.ndarray, most: int = 8) -> list[np.ndarray]:
    """Parts of a photograph that are alike in colour and compact: masks (H, W) bool, at most `most`, largest first."""
    height, width = image.shape[:2]
    scale = 360 / max(height, width)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    flat = cv2.pyrMeanShiftFiltering(small, 8, 22)
    area = small.shape[0] * small.shape[1]
    done = np.zeros((small.shape[0] + 2, small.shape[1] + 2), np.uint8)
    masks = []
    rows, columns = np.meshgrid(np.linspace(0.08, 0.92, 12), np.linspace(0.08, 0.92, 12), indexing="ij")
    for v, u in zip(rows.ravel(), columns.ravel(), strict=True):
        y, x = int(v * small.shape[0]), int(u * small.shape[1])
        if done[y + 1, x + 1]:
            continue
        flood = done.copy()
        cv2.floodFill(flat, flood, (x, y), 0, (7,) * 3, (7,) * 3, 4 | cv2.FLOODFILL_MASK_ONLY | (255 << 8))
        mask = (flood != done)[1:-1, 1:-1]
        done = np.maximum(done, (flood != done).astype(np.uint8))
        mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        for part in _solid_parts(mask, 0.004 * area, 0.25 * area)[:1]:
            contour = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
            if part.sum() > 0.62 * cv2.contourArea(cv2.convexHull(contour)):
                masks.append(part)
    masks.sort(key=lambda m: -int(m.sum()))
    smooth = (cv2.GaussianBlur(cv2.resize(m.astype(np.float32), (width, height)), (0, 0), 3) for m in masks[:most])
    return [m > 0.5 for m in smooth]


def moving_things(
    frames: Sequence[np.ndarray], smallest: float = 0.0012, largest: float = 0.2, still: np.ndarray | None = None
) -> list[list]:
    """Things that move before a camera that stands still.

    Args:
        frames: (H, W, 3) uint8 pictures in order.
        smallest, largest: area of a thing as a share of the picture.
        still: the picture without them (H, W, 3) uint8; None: the median of the frames.

    Returns:
        Per thing, its consecutive (frame index, mask (H, W) bool); things at the picture's border are left out.
    """
    if still is None:
        still = np.median(np.stack(frames[:: max(1, len(frames) // 25)]), axis=0).astype(np.uint8)
    height, width = still.shape[:2]
    tracks: list[list] = []
    for k, frame in enumerate(frames):
        change = cv2.GaussianBlur(cv2.absdiff(frame, still), (0, 0), 1).max(axis=2) > 26
        change = cv2.morphologyEx(change.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        change = cv2.morphologyEx(change, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        for mask in _solid_parts(change, smallest * height * width, largest * height * width):
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            if x <= 2 or y <= 2 or x + w >= width - 2 or y + h >= height - 2:
                continue
            near = cv2.dilate(mask.astype(np.uint8), np.ones((_EDGE, _EDGE), np.uint8)).astype(bool)
            for track in tracks:
                last, before = track[-1]
                if last != k - 1:
                    continue
                union = (mask | before).sum()
                if (near & before).sum() > 0.45 * union and 0.6 < mask.sum() / before.sum() < 1.65:
                    track.append((k, mask))
                    break
            else:
                tracks.append([(k, mask)])
    return tracks
