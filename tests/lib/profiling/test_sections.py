import pytest
import torch

from lib.profiling import sections
from lib.profiling.case import Case, Effort, untrained_model
from patrack import config

SMALL = ("model.depth=1", "model.adapters.cea.layers=[]", "model.elimination.layers=[]", "model.base_model=null")


@pytest.fixture
def case(tmp_path):
    return Case("rgbt_tiny", SMALL, torch.device("cpu"), Effort(1, 0, 1.0), tmp_path, (160, 120), quick=True)


def test_floor_is_as_large_as_the_base_model_blocks(case):
    blocks = sections.floor_blocks(case.config.model)
    ours = [parameter.numel() for name, parameter in case.model.backbone.named_parameters() if "blocks" in name]
    floor = [parameter.numel() for parameter in blocks.parameters()]
    assert sum(floor) <= sum(ours)
    assert blocks(torch.zeros(2, case.tokens, 128)).shape == (2, 180, 128)


def test_untrained_network_finds_boxes_of_the_targets_size():
    settings = config.load("rgbt_tiny", SMALL)
    model = untrained_model(settings)
    with torch.inference_mode():
        size = model(torch.randn(1, 6, 48, 48), torch.randn(1, 6, 96, 96))["size_map"]
    assert size.mean().item() == pytest.approx(1 / settings.crop.search_factor, abs=0.05)


def test_flops_without_adapters_are_those_counted_by_hand(case):
    case = case.changed("model.adapters.mda.enabled=false", "model.adapters.task.enabled=false")
    width, tokens, search = 128, 180, 144
    linear = tokens * width * 3 * width + search * width * (width + 2 * 4 * width)  # the last block: search tokens only
    attention, patches = 2 * search * tokens * width, search * 192 * width
    convolutions = 9 * (width * 192 + 3 * (64 * 32 + 32 * 16 + 16 * 8)) + 24 * 5  # three branches side by side
    by_hand = 2 * (2 * (linear + attention + patches) + search * convolutions)
    assert sections.count_flops(case, case.folded("fp32")) == by_hand


def test_flops_are_counted_of_packed_weights_too(case, monkeypatch):
    folded = case.folded("fp32")
    expected = sections.count_flops(case, folded)
    monkeypatch.setattr("patrack.fused_layers.LEAST_WIDTH", 1)
    folded.pack()
    with torch.inference_mode():
        folded(*case.inputs(folded))
    assert sections.count_flops(case, folded) == expected > 0


def test_search_sizes_are_even_numbers_of_patches():
    assert sections.search_sizes(16) == list(range(128, 385, 32))
    assert all(size % 48 == 0 for size in sections.search_sizes(24))
    assert sections.search_sizes(16, quick=True) == [128, 160]


@pytest.mark.parametrize(("asked", "expected"), [(None, 4), (9, 9)], ids=["default", "asked for"])
def test_batch_of_a_cpu_is_small_unless_asked_for(case, asked, expected):
    case.batch = asked
    assert sections.batch_size(case) == expected


def test_made_up_batch_looks_like_the_loaders(case):
    made = sections.made_up_batch(case, 3)
    assert (made.template.shape, made.search.shape) == ((3, 6, 48, 48), (3, 6, 96, 96))
    assert made.template.dtype == torch.uint8
    assert len(made) == 3
