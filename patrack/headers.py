"""What a weights file says about itself: its kind, and the reading of the paper that its adapters were trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from patrack.named_tensors import WeightsError
from patrack.network import Network

__all__ = [
    "ADAPTER_FORMAT",
    "FOUNDATION_FORMAT",
    "MODEL_FORMAT",
    "PUBLISHED_READING",
    "header",
    "is_training",
    "kind_of",
    "reading_of",
    "refuse_other_reading",
    "stated_reading",
]

ADAPTER_FORMAT = "patrack-adapters"
FOUNDATION_FORMAT = "patrack-foundation"
MODEL_FORMAT = "patrack-model"
TRAINING_KIND = "patrack-training"
VERSION = "1"

Reading = dict[str, str]
"""Settings that change what the same tensors compute: config key -> value."""

PUBLISHED_READING: Reading = {
    "model.method": "patrack",
    "model.adapters.mda.form": "published",
    "model.adapters.cea.form": "published",
    "model.adapters.init": "published",
    "model.fusion": "sum",
}


def header(kind: str, model: Network, fixed: Mapping[str, str], more: Mapping[str, str] | None) -> dict[str, str]:
    """The header of a file of ours.

    Args:
        kind: one of the three formats.
        model: whose weights are written.
        fixed: further entries that belong to the format.
        more: the caller's entries.

    Raises:
        ValueError: an entry of the caller's has the name of one of ours.
    """
    ours = {"format": kind, "version": VERSION, **fixed}
    if kind != FOUNDATION_FORMAT:
        ours["reading"] = json.dumps(reading_of(model), sort_keys=True)
    clash = sorted(ours.keys() & (more or {}).keys())
    if clash:
        raise ValueError(f"metadata keys {clash} are written by this function; leave them out")
    return {**ours, **(more or {})}


def kind_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """What a file holds: "adapters", "foundation", "full" (a whole model) or "published" (likewise)."""
    if metadata.get("format") == ADAPTER_FORMAT or (is_training(metadata) and metadata.get("foundation")):
        return "adapters"
    if any(".adap_t." in name or ".highfuseadapter1." in name for name in tensors):
        return "published"
    if metadata.get("format") != FOUNDATION_FORMAT and any(name.startswith("head.score.") for name in tensors):
        return "full"
    return "foundation"


def is_training(metadata: Mapping[str, str]) -> bool:
    """Whether a header is that of the trainer's checkpoints, which name their foundation if it was frozen."""
    return metadata.get("kind") == TRAINING_KIND


def reading_of(model: Network) -> Reading:
    """List the settings of a model that no tensor's name or shape shows."""
    method = {"model.method": model.config.method} if model.streams == "both" else {}
    return {**method, **model.reading()}


def stated_reading(metadata: Mapping[str, str], model: Network) -> Reading:
    """List the settings that a header states, by itself or in the configuration of its training; may be empty."""
    if "reading" in metadata:
        return dict(json.loads(metadata["reading"]))
    config = json.loads(metadata.get("config", "{}"))
    found = {key: _at(config, key) for key in reading_of(model)}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _at(config: Any, key: str) -> Any:
    for word in key.split("."):
        config = config.get(word) if isinstance(config, Mapping) else None
    return config


def refuse_other_reading(model: Network, stated: Mapping[str, str], source: str) -> None:
    """Stop where a file's tensors would fit, but compute something else than in their training.

    Raises:
        WeightsError: lists the settings that differ.
    """
    own = reading_of(model)
    wrong = [f"{key}={stated[key]} (the model has {own[key]})" for key in own if stated.get(key, own[key]) != own[key]]
    if wrong:
        raise WeightsError(
            f"{source} was made with other settings, and means something else without them; set\n  "
            + "\n  ".join(wrong)
        )
