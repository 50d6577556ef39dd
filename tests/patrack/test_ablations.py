"""The suite of the paper's ablation: what each variant builds, and that it differs only in what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib.experiments.suite import find_suite, read_suite
from patrack import build_model
from patrack.config import load
from patrack.network import adapter_parameters

SUITE = read_suite(find_suite("paper"))
MDA, CEA, HA = 293_400, 3_096_576, 332_928
"""Weights of each family at ViT-B; 2 adapters in each of 9 and of 3 blocks, and one."""
LOWER = 18 * ((768 + 1) * 4 + 4 * 9 + (4 + 1) * 768)  # reduce, depthwise, expand; D = 8
UPPER = 18 * ((768 + 1) * 4 + (8 + 36 + 12) + 8 * 9 + (8 + 1) * 768)
UNSHARED = CEA - 6 * 2 * 192 * 192
COUNTS = {
    "all": MDA + CEA + HA,
    "none": 0,
    "mda": MDA,
    "mda-high": UPPER,
    "mda-low": LOWER,
    "cea": CEA,
    "cea-unshared": UNSHARED,
    "cea-one-layer": CEA // 3,
    "ha": HA,
    "mda+cea": MDA + CEA,
    "mda+ha": MDA + HA,
    "cea+ha": CEA + HA,
    "all-mda-high": UPPER + CEA + HA,
    "all-mda-low": LOWER + CEA + HA,
    "all-cea-unshared": MDA + UNSHARED + HA,
    "all-paper-forms": MDA + CEA + HA,
    "all-other-start": MDA + CEA + HA + 6 * 768,  # a gate per entangled adapter
    "all-half-width": 153_540 + 1_216_512 + 157_632,
    "all-double-width": 573_552 + 8_847_360 + 738_816,
}


def leaves(section: dict[str, Any], before: str = "") -> dict[str, Any]:
    """A nested dict -> its values by dotted key."""
    out: dict[str, Any] = {}
    for key, value in section.items():
        out |= leaves(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return out


def test_counts_of_the_parts_add_up() -> None:
    assert (UPPER, LOWER, UNSHARED) == (182_088, 125_136, 2_654_208)


def test_every_variant_is_counted() -> None:
    assert set(SUITE.variants) == set(COUNTS)


@pytest.mark.parametrize("variant", COUNTS)
def test_as_many_weights_train_at_vit_b_as_a_variant_says(variant: str) -> None:
    with torch.device("meta"):
        model = build_model(load("rgbt_base", SUITE.settings_of(variant, "rgbt_base")))
    assert sum(parameter.numel() for parameter in adapter_parameters(model).values()) == COUNTS[variant]


@pytest.mark.parametrize("experiment", ["rgbt_tiny", "rgbd_small", "rgbe_base"])
def test_a_variant_differs_only_in_what_it_says(experiment: str) -> None:
    full = leaves(load(experiment, SUITE.settings_of("all", experiment)).model_dump())
    assert full == leaves(load(experiment).model_dump())
    for name, variant in SUITE.variants.items():
        words = SUITE.settings_of(name, experiment)
        said = {word.split("=")[0] for word in words}
        assert all(key == "model.fusion" or key.startswith("model.adapters.") for key in said), name
        assert ("model.fusion" in said) == (name == "all-other-start")
        assert variant.trained == (name != "none")
        after = leaves(load(experiment, words).model_dump())
        assert {key for key in full.keys() | after.keys() if full.get(key) != after.get(key)} == said, name
