"""Geometry of boxes, one value per frame: overlap, distance of centers, corners.

Boxes are `(N, 4)` float64 arrays `x, y, w, h` in pixels, top-left corner first, unless a name says otherwise. A row may
hold NaN (no box); every distance or overlap with it is NaN, which no threshold counts as a hit.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "center_error",
    "corners_to_xywh",
    "iou",
    "normalized_center_error",
    "raster_overlap",
    "round_half_away",
]


def iou(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of continuous boxes, both (N, 4) xywh in pixels, frame by frame.

    Returns:
        (N,) in [0, 1] for boxes of positive size; NaN where the union is empty or a number is NaN. Sizes are used as
        given: a negative one never overlaps, but its area enters the union as the toolkits have it.

    Example:
        >>> iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 2, 2]])).round(4).tolist()
        [0.3333]
    """
    left, top = np.maximum(boxes[:, 0], truth[:, 0]), np.maximum(boxes[:, 1], truth[:, 1])
    right = np.minimum(boxes[:, 0] + boxes[:, 2], truth[:, 0] + truth[:, 2])
    bottom = np.minimum(boxes[:, 1] + boxes[:, 3], truth[:, 1] + truth[:, 3])
    shared = np.maximum(right - left, 0.0) * np.maximum(bottom - top, 0.0)  # (N,)
    union = boxes[:, 2] * boxes[:, 3] + truth[:, 2] * truth[:, 3] - shared
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(union == 0, np.nan, shared / union)


def center_error(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the Euclidean distance of the centers, (N,) pixels; both boxes (N, 4) xywh."""
    offset = (boxes[:, :2] + boxes[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)
    return np.sqrt((offset**2).sum(axis=1))


def normalized_center_error(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the distance of the centers in units of the true width and height, (N,); both boxes (N, 4) xywh.

    Either center is divided before they are subtracted, as the toolkits do: where a distance is just the threshold, the
    rounding decides. A true box without extent gives NaN, which no threshold counts.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        centers = ((corner[:, :2] + corner[:, 2:] / 2) / truth[:, 2:] for corner in (boxes, truth))
        offset = np.subtract(*centers)
        return np.sqrt((offset**2).sum(axis=1))


def round_half_away(values: np.ndarray) -> np.ndarray:
    """Round to integers, halves away from zero (MATLAB's rule; numpy rounds halves to even)."""
    return np.sign(values) * np.floor(np.abs(values) + 0.5)


def corners_to_xywh(rows: np.ndarray) -> np.ndarray:
    """Make (N, 4) boxes xywh from (N, 4) corners `x1, y1, x2, y2` or (N, 8) `x1, y1, x2, y1, x2, y2, x1, y2`, pixels.

    Width is `x2 - x1` without "+ 1". With 8 numbers the last two corners may be swapped.

    Raises:
        ValueError: another number of columns.
    """
    if rows.shape[1] not in (4, 8):
        raise ValueError(f"corners need 4 or 8 columns, got {rows.shape[1]}")
    right, bottom = (rows[:, 2], rows[:, 3]) if rows.shape[1] == 4 else (rows[:, 2], rows[:, 5])
    return np.stack([rows[:, 0], rows[:, 1], right - rows[:, 0], bottom - rows[:, 1]], axis=1)


def raster_overlap(
    boxes: np.ndarray, truth: np.ndarray, width: int, height: int, *, empty_is_match: bool
) -> np.ndarray:
    """Compute the overlap of pixel sets inside the image, which is the rule of the VOT toolkit.

    Numbers are rounded to integers (halves to even, in float32); a box covers the pixels `x .. x + w - 1`,
    `y .. y + h - 1` that lie in the image.

    Args:
        boxes: (N, 4) xywh, pixels; a row with NaN means that the tracker reported nothing.
        truth: (N, 4) xywh, pixels; a row with NaN means that the target is absent.
        width: of the image, pixels.
        height: of the image, pixels.
        empty_is_match: what two empty regions score, and two regions that both fit in one row or column of pixels:
            1 (toolkit 0.6.0 and newer) or 0 (older).

    Returns:
        (N,) in [0, 1].
    """
    nothing, absent = np.isnan(boxes).any(axis=1), np.isnan(truth).any(axis=1)
    first, second = _pixel_edges(boxes, nothing), _pixel_edges(truth, absent)  # (N, 4) left, top, right, bottom
    joint = np.concatenate([np.minimum(first, second)[:, :2], np.maximum(first, second)[:, 2:]], axis=1)
    limits = np.array([width, height, width, height], dtype=np.float64)
    first, second, inside = (np.clip(edges, 0.0, limits) for edges in (first, second, joint))
    area_first, area_second = _area(first), _area(second)
    shared = _area(np.concatenate([np.maximum(first, second)[:, :2], np.minimum(first, second)[:, 2:]], axis=1))
    union = area_first + area_second - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    overlap[_thin(inside) | (nothing | absent)] = 0.0
    if empty_is_match:
        overlap[(nothing & absent) | (_thin(joint) & ~nothing)] = 1.0
    return overlap


def _pixel_edges(boxes: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """(N, 4) rounded left, top, right, bottom; a missing box is 0, 0, 0, 0."""
    rounded = np.where(missing[:, None], 0.0, np.round(boxes.astype(np.float32)).astype(np.float64))
    return np.concatenate([rounded[:, :2], rounded[:, :2] + rounded[:, 2:]], axis=1)


def _area(edges: np.ndarray) -> np.ndarray:
    """(N,) pixels between the edges, 0 where they cross."""
    return np.maximum(edges[:, 2] - edges[:, 0], 0.0) * np.maximum(edges[:, 3] - edges[:, 1], 0.0)


def _thin(edges: np.ndarray) -> np.ndarray:
    """(N,) bool: at most one pixel wide or high."""
    return (edges[:, 2] - edges[:, 0] <= 1) | (edges[:, 3] - edges[:, 1] <= 1)
