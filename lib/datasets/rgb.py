"""RGB only: any sequence without its X modality, for training the foundation."""

from __future__ import annotations

from dataclasses import replace

from lib.datasets.sequence import Sequence

__all__ = ["rgb_only"]


def rgb_only(sequence: Sequence, prefix: str = "") -> Sequence:
    """The same frames and boxes with modality "rgb"; `prefix` keeps names of several sets apart."""
    return replace(sequence, name=prefix + sequence.name, modality="rgb", x_files=None)
