"""The suites of the paper's ablation: what each variant builds, and that it differs only in what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from patrack import build_model
from patrack.config import experiments_dir, load
from patrack.network import adapter_parameters

SUITES = {
    name: yaml.safe_load((experiments_dir() / "suites" / f"{name}.yaml").read_text(encoding="utf-8"))
    for name in ("paper", "paper_base")
}
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
    "all-neutral-start": MDA + CEA + HA + 6 * 768,  # a gate per entangled adapter
    "all-half-width": 153_540 + 1_216_512 + 157_632,
    "all-double-width": 573_552 + 8_847_360 + 738_816,
}


def overrides(words: list[str]) -> list[str]:
    return [word for word in words if word != "untrained"]


def leaves(section: dict[str, Any], before: str = "") -> dict[str, Any]:
    """A nested dict -> its values by dotted key."""
    out: dict[str, Any] = {}
    for key, value in section.items():
        out |= leaves(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return out


def test_counts_of_the_parts_add_up() -> None:
    assert (UPPER, LOWER, UNSHARED) == (182_088, 125_136, 2_654_208)


@pytest.mark.parametrize("variant", COUNTS)
def test_as_many_weights_train_at_vit_b_as_a_variant_says(variant: str) -> None:
    with torch.device("meta"):
        model = build_model(load("rgbt_base", overrides(SUITES["paper_base"]["variants"][variant])))
    assert sum(parameter.numel() for parameter in adapter_parameters(model).values()) == COUNTS[variant]


@pytest.mark.parametrize("suite", SUITES)
def test_a_variant_differs_only_in_what_it_says(suite: str) -> None:
    content = SUITES[suite]
    full = {name: leaves(load(name, content["settings"]).model_dump()) for name in content["experiments"]}
    for variant, words in content["variants"].items():
        said = dict(word.split("=", 1) for word in overrides(words))
        assert all(key == "model.fusion" or key.startswith("model.adapters.") for key in said), variant
        assert ("untrained" in words) == (variant == "none")
        for name, before in full.items():
            after = leaves(load(name, [*content["settings"], *overrides(words)]).model_dump())
            changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            assert changed == set(said), (name, variant)


def test_both_suites_ask_the_same_questions() -> None:
    starts = {"all-published-start", "all-neutral-start"}  # the one that isn't the experiments' own
    small, large = (set(SUITES[name]["variants"]) for name in SUITES)
    assert small ^ large == starts
    assert large == set(COUNTS)
