"""Images that take the place of a stream and tell nothing that the other one does not."""

from __future__ import annotations

import numpy as np

from lib.datasets.decoded import DecodedFrame, Plane

__all__ = ["SUBSTITUTES", "black_rgb", "substitute_x"]

SUBSTITUTES: tuple[str, ...] = ("black", "constant", "noise", "copy")


def black_rgb(frame: DecodedFrame) -> DecodedFrame:
    """A frame of two streams with RGB black; X is shared.

    Raises:
        ValueError: the frame has no X.
    """
    _, x = frame.streams()
    return DecodedFrame((Plane(np.zeros(frame.shape[:2], np.uint8)), x))


def substitute_x(frame: DecodedFrame, kind: str, rng: np.random.Generator) -> DecodedFrame:
    """A frame of two streams whose X is replaced; RGB is shared.

    Args:
        frame: with X.
        kind: black; constant: one colour; noise: every value drawn anew; copy: RGB once more.
        rng: draws the colour (3 values) or the noise.

    Raises:
        ValueError: unknown kind, or the frame has no X.
    """
    rgb, _ = frame.streams()
    height, width = frame.shape[:2]
    if kind == "black":
        x = Plane(np.zeros((height, width), np.uint8))
    elif kind == "constant":
        x = Plane(np.tile(rng.integers(0, 256, 3, np.uint8), (height, width, 1)))
    elif kind == "noise":
        x = Plane(np.frombuffer(rng.bytes(height * width * 3), np.uint8).reshape(height, width, 3))
    elif kind == "copy":
        x = rgb
    else:
        raise ValueError(f"X can be replaced by {', '.join(SUBSTITUTES)}, got {kind!r}")
    return DecodedFrame((rgb, x))
