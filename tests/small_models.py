"""Sizes of the smallest models that have every part, as sections of a configuration and as settings of a command."""

from __future__ import annotations

import yaml

from patrack.config.schema import Config

SIZES = {
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "patch_size": 8,
    "template_size": 16,
    "search_size": 32,
    "head_channels": 8,
}
ADAPTERS = {"cea": {"layers": [1], "hidden_dim": 4}, "mda": {"hidden_dim": 4}, "task": {"hidden_dim": 4}}
EXPERIMENT = yaml.safe_dump(
    {"modality": "rgbt", "model": {**SIZES, "adapters": ADAPTERS, "elimination": {"layers": []}}}, sort_keys=False
)
DEEPER_SIZES = SIZES | {"embed_dim": 16, "depth": 4, "patch_size": 4}
DEEPER_ADAPTERS = {"cea": {"layers": [1, 3], "hidden_dim": 8}, "task": {"hidden_dim": 8}}

TRACKED = (
    "model.embed_dim=8",
    "model.depth=2",
    "model.num_heads=2",
    "model.template_size=16",
    "model.search_size=32",
    "model.head_channels=8",
    "model.elimination.layers=[]",
    "model.base_model=null",
)
CEA = "model.adapters.cea.layers=[1]"
"""For a pair's experiment of two layers: its adapters name later ones."""
TRAINED = (
    "model.embed_dim=16",
    "model.depth=2",
    "model.num_heads=2",
    "model.head_channels=8",
    "model.template_size=32",
    "model.search_size=64",
    "model.elimination.layers=[1]",
    CEA,
)
TRAINED_ADAPTERS = (
    "model.adapters.cea.hidden_dim=8",
    "model.adapters.mda.hidden_dim=4",
    "model.adapters.task.hidden_dim=8",
)


def tiny_config(model: dict | None = None, **sections: object) -> Config:
    """A configuration of SIZES for RGB-T; `model` and `sections` change it."""
    adapters = {family: ADAPTERS[family] for family in ("cea", "task")}
    content = {"name": "tiny", "modality": "rgbt", "model": {**SIZES, "adapters": adapters, **(model or {})}}
    return Config.model_validate({**content, **sections})
