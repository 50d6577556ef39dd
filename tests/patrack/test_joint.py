"""One network for several pairs: each sample meets its modality's norms or adapters, in training and in tracking."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patrack import Tracker, adapter_parameters, build_model, freeze_batchnorm, trainable_parameters
from patrack.config import load
from patrack.crop import MEAN, STD
from patrack.fused import FusedNetwork, unfoldable
from patrack.methods.patrack import PATrack, PerModality
from patrack.modality import modalities
from patrack.network import adapter_names
from patrack.predictor import PlainNetwork, tracking_network
from small_networks import lively

PAIRS = ("rgbt", "rgbd", "rgbe")
NUMBERS = torch.tensor([modalities().index(name) for name in PAIRS])
APART = ("norms", "adapters")
MAPS = ("score_map", "size_map", "offset_map")


@pytest.fixture
def joint(make_model):
    """Makes a joint network of small size in fp64."""

    def make(per_modality: str, **changes: object) -> PATrack:
        adapters = {"per_modality": per_modality} | dict(changes.pop("adapters", {}))
        return lively(make_model(modalities=list(PAIRS), adapters=adapters, **changes).double())

    return make


def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return tuple(torch.randn(count, 6, size, size, generator=generator, dtype=torch.float64) for size in (16, 32))


def pixels(side: int) -> torch.Tensor:
    return torch.randint(0, 256, (1, side, side, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(side))


def normalized(crops: torch.Tensor) -> torch.Tensor:
    """`patrack.network.normalize` in fp64."""
    mean, std = (torch.tensor(values * 2, dtype=torch.float64) for values in (MEAN, STD))
    return ((crops.double() / 255 - mean) / std).movedim(-1, -3)


@pytest.mark.parametrize("elimination", [{}, {"layers": [0, 2], "keep_ratio": 0.6}], ids=["all-tokens", "elimination"])
@pytest.mark.parametrize("per_modality", APART)
@torch.no_grad()
def test_a_mixed_batch_gives_what_each_sample_gives_alone(joint, per_modality: str, elimination) -> None:
    model = joint(per_modality, elimination=elimination)
    numbers = NUMBERS[[2, 0, 1, 0, 2]]
    template, search = images(5)
    together = model(template, search, modality=numbers)
    for i, number in enumerate(numbers):
        alone = model(template[i : i + 1], search[i : i + 1], modality=number.view(1))
        other = model(template[i : i + 1], search[i : i + 1], modality=NUMBERS[NUMBERS != number][:1])
        for name in MAPS:
            torch.testing.assert_close(together[name][i : i + 1], alone[name], atol=1e-12, rtol=0)
        assert (alone["score_map"] - other["score_map"]).abs().max() > 1e-6


@pytest.mark.parametrize("form", ["published", "paper"])
@pytest.mark.parametrize("per_modality", APART)
@torch.no_grad()
def test_the_network_of_one_modality_is_the_joint_one_for_it_folded_or_not(joint, per_modality: str, form: str) -> None:
    adapters = {"mda": {"form": form}, "cea": {"form": form}, "init": "neutral" if form == "paper" else "published"}
    model = joint(per_modality, adapters=adapters)
    template, search = images(2)
    assert unfoldable(model) == ""
    for name, number in zip(PAIRS, NUMBERS, strict=True):
        expected = model(template, search, modality=number.expand(2))
        one = model.of_modality(name)
        assert not any(isinstance(module, PerModality) for module in one.modules())
        assert one.config.modalities == []
        for key, value in one(template, search).items():
            torch.testing.assert_close(value, expected[key], atol=1e-12, rtol=0)
        folded, crops = FusedNetwork(model, torch.float64, name), [pixels(16), pixels(32)]
        expected = model(*(normalized(crop) for crop in crops), modality=number.view(1))
        got = folded(folded.embed_template(crops[0]), crops[1])
        for key in MAPS:
            torch.testing.assert_close(got[key], expected[key], atol=1e-10, rtol=0)
        assert folded.difference(model, crops[0][0], crops[1][0]) < 1e-8  # normalized in fp32


@pytest.mark.parametrize("per_modality", APART)
def test_a_tracker_uses_the_adapters_of_its_modality(joint, per_modality: str) -> None:
    model = joint(per_modality)
    frames = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 6), dtype=np.uint8)
    boxes = {}
    for name in PAIRS:
        for network in (model, PlainNetwork(model, name), model.of_modality(name)):
            tracker = Tracker(network, modality=name)
            tracker.initialize(frames[0], (30, 20, 14, 12))
            boxes.setdefault(name, []).append(np.array([tracker.track(frame)[0] for frame in frames]))
        assert isinstance(tracking_network(model, None, name), FusedNetwork)
        np.testing.assert_allclose(boxes[name][0], boxes[name][1], atol=1e-6)
        np.testing.assert_allclose(boxes[name][0], boxes[name][2], atol=1e-6)
    assert np.abs(boxes["rgbt"][0] - boxes["rgbd"][0]).max() > 1e-3


@pytest.mark.parametrize("per_modality", APART)
def test_only_the_own_adapters_learn_from_a_sample(joint, per_modality: str) -> None:
    model = joint(per_modality).train()
    freeze_batchnorm(model)
    chosen = trainable_parameters(model, "adapters")
    output = model(*images(2), modality=NUMBERS[[1, 1]])
    sum(output[name].square().sum() for name in MAPS).backward()
    assert all(parameter.grad is not None for parameter in chosen.values()), "as several processes need"
    for name, parameter in chosen.items():
        grad = parameter.grad
        if "_affine" in name:
            assert grad[1].abs().max() > 0
            assert grad[[0, 2]].abs().max() == 0
        elif per_modality == "adapters":
            assert (grad.abs().max() > 0) == (".rgbd." in name), name


def test_what_differs_is_counted_at_vit_b() -> None:
    alone, counts = 3_722_904, {}
    for what in ("nothing", *APART):
        with torch.device("meta"):
            model = build_model(load("rgbx_base", [f"model.adapters.per_modality={what}"]))
        counts[what] = sum(parameter.numel() for parameter in adapter_parameters(model).values())
    assert counts == {"nothing": alone, "norms": alone + 24 * 3 * 2 * 768, "adapters": 3 * alone}


def test_norms_start_without_effect(make_model) -> None:
    changes = {"modalities": list(PAIRS)}
    shared = make_model(**changes).eval()
    apart = make_model(adapters={"per_modality": "norms"}, **changes).eval()
    apart.load_state_dict(shared.state_dict(), strict=False)
    template, search = (image.float() for image in images(3))
    assert torch.equal(apart(template, search, modality=NUMBERS)["score_map"], shared(template, search)["score_map"])


@pytest.mark.parametrize("per_modality", APART)
def test_a_modality_that_is_missing_or_unknown_is_said(joint, per_modality: str) -> None:
    model = joint(per_modality)
    with pytest.raises(ValueError, match=rf"treats rgbt, rgbd, rgbe apart.*{per_modality}.*modality=rgbt"):
        model(*images(1))
    with pytest.raises(ValueError, match=r"rgbt, rgbd, rgbe .*got samples of rgb"):
        model(*images(1), modality=torch.tensor([modalities().index("rgb")]))
    for network in (model, PlainNetwork):
        with pytest.raises(ValueError, match="treats rgbt, rgbd, rgbe apart"):
            Tracker(model) if network is model else PlainNetwork(model)
    with pytest.raises(ValueError, match="doesn't know rgbq"):
        Tracker(model, modality="rgbq")


def test_each_pair_has_a_set_of_names_of_its_own(joint) -> None:
    names = set(adapter_names(joint("adapters")))
    alone = set(adapter_names(joint("adapters").of_modality("rgbd")))
    norms = {name for name in names if "cea_norm" in name}  # the base model's, which don't train
    own = {name.replace(f".{pair}.", ".") for pair in PAIRS for name in names if f".{pair}." in name}
    assert own | norms == alone
    assert len(names) == 3 * len(own) + len(norms)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["model.modalities=[]", "model.adapters.per_modality=nothing"],
            "model.modalities = \\[\\]: must name the pairs that modality rgbx stands for",
        ),
        (["model.modalities=[rgbt, rgbq]"], "rgbq.*must be of rgbt, rgbd, rgbe"),
        (["model.modalities=[rgbt, rgbt]"], "must name each pair once"),
        (["modality=rgbe", "model.modalities=[rgbt, rgbd]"], "must be rgbx or of model.modalities: rgbt, rgbd"),
        (["model.adapters.per_modality=heads"], "model.adapters.per_modality"),
    ],
)
def test_settings_that_do_not_go_together_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load("rgbx_tiny", overrides)


def test_own_adapters_need_a_joint_experiment() -> None:
    with pytest.raises(ValueError, match=r"per_modality = 'norms': needs modality rgbx and .*model.modalities"):
        load("rgbt_tiny", ["model.adapters.per_modality=norms"])


def test_an_experiment_becomes_that_of_its_data() -> None:
    joint, plain = load("rgbx_tiny"), load("rgbt_tiny")
    assert joint.of_modality("rgbd") == load("rgbx_tiny", ["modality=rgbd"])
    assert plain.of_modality("rgbd") is plain
    with pytest.raises(ValueError, match=r"rgbx_tiny is a joint experiment for rgbt, rgbd, rgbe .*not for rgb$"):
        joint.of_modality("rgb")
