"""Two templates: a second one that equals the first changes nothing, another one does, and when it is replaced."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from patrack import build_model
from patrack.config import ConfigError, load, schema
from patrack.crop import MEAN, STD
from patrack.fused import FusedNetwork
from patrack.predictor import PlainNetwork, Predictor
from patrack.tracker import Tracker
from patrack.weights import WeightsError, load_adapters, save_adapters
from small_models import DEEPER_SIZES
from small_networks import crops, lively

MAPS = ("score_map", "size_map", "offset_map", "pred_boxes")
ELIMINATION = {"layers": [0, 1, 3], "keep_ratio": 0.6}
BOTH_FAMILIES = {"mda": {"layers": [0, 1, 2, 3]}}
NETWORKS = [
    pytest.param({"adapters": BOTH_FAMILIES, "elimination": ELIMINATION}, id="patrack"),
    pytest.param({"adapters": {"cea": {"form": "paper"}, "mda": {"form": "paper"}}, "fusion": "gate"}, id="paper-gate"),
    pytest.param({"streams": "rgb", "elimination": ELIMINATION}, id="rgb"),
]


def normalized(pixels):
    """`patrack.network.normalize` in fp64."""
    mean, std = (torch.tensor(values * 2, dtype=torch.float64) for values in (MEAN, STD))
    return ((pixels.double() / 255 - mean) / std).movedim(-1, -3)


def twins(make_model, **changes):
    """The same weights in a network of one template and in one of two, fp64."""
    one, two = (lively(make_model(templates=count, **changes)).double() for count in (1, 2))
    two.load_state_dict(one.state_dict())
    return one, two


def assert_equal_templates_are_one(one, two, images):
    template, search = (image.double() for image in images)
    with torch.no_grad():
        expected = one(template, search, return_features=True)
        found = two(template.unsqueeze(1).repeat(1, 2, 1, 1, 1), search, return_features=True)
    cells = one.backbone.template_grid**2
    assert torch.allclose(found["features"][:, cells:], expected["features"], atol=1e-10, rtol=0)
    for name in MAPS:
        assert torch.allclose(found[name], expected[name], atol=1e-10, rtol=0)


@pytest.mark.parametrize("changes", NETWORKS)
def test_two_equal_templates_are_one(make_model, images, changes):
    assert_equal_templates_are_one(*twins(make_model, **changes), images)


@pytest.mark.parametrize("method", ["bat", "lora", "seatrack"])
def test_two_equal_templates_are_one_for_other_methods(images, method):
    model = {**DEEPER_SIZES, "method": method, "elimination": ELIMINATION}
    one, two = (
        lively(build_model(SimpleNamespace(model=schema.ModelConfig(**model, templates=count)))).double()
        for count in (1, 2)
    )
    two.load_state_dict(one.state_dict())
    assert_equal_templates_are_one(one, two, images)


@pytest.mark.parametrize("changes", NETWORKS)
def test_folded_network_is_the_same_function_of_two_templates(make_model, changes):
    model = lively(make_model(templates=2, **changes)).double()
    pixels, search = crops(model.template_size, 6), crops(model.search_size)
    folded = FusedNetwork(model, torch.float64)
    with torch.no_grad():
        found = folded(folded.embed_template(pixels).unflatten(0, (folded.rows * 3, 2)), search)
        expected = model(normalized(pixels).unflatten(0, (3, 2)), normalized(search))
        pixels[1::2] = pixels[::2]
        of_the_first_alone = folded(folded.embed_template(pixels).unflatten(0, (folded.rows * 3, 2)), search)
    for name in MAPS:
        assert torch.allclose(found[name], expected[name], atol=1e-10, rtol=0)
        assert not torch.allclose(found[name], of_the_first_alone[name], atol=1e-7, rtol=0)


def test_folding_is_checked_with_two_templates(make_model):
    model = lively(make_model(templates=2, adapters=BOTH_FAMILIES))
    template, search = crops(model.template_size, 1)[0], crops(model.search_size, 1)[0]
    with torch.no_grad():
        assert FusedNetwork(model).difference(model, template, search) < 1e-5


@pytest.mark.parametrize(("templates", "shape"), [(1, (2, 2, 6, 16, 16)), (2, (2, 6, 16, 16)), (2, (2, 3, 6, 16, 16))])
def test_another_number_of_templates_is_refused(make_model, images, templates, shape):
    with pytest.raises(ValueError, match=f"template must be .* for model.templates={templates}"):
        make_model(templates=templates)(torch.zeros(shape), images[1])


@pytest.mark.parametrize("plain", [True, False])
def test_one_place_of_one_slot_is_replaced(make_model, plain):
    model = lively(make_model(templates=2))
    network = PlainNetwork(model) if plain else FusedNetwork(model)
    predictor = Predictor(network, torch.device("cpu"), slots=2)
    first, second, other = (image.numpy() for image in crops(model.template_size))
    search = crops(model.search_size, 1)[0].numpy()

    def found():
        predictor.launch({0: search, 1: search})
        return predictor.fetch()

    predictor.set_template(0, first)
    predictor.set_template(1, second)
    before = found()
    predictor.set_template(0, other, 1)
    after = found()
    assert after[0] != before[0]
    assert after[1] == before[1]
    predictor.set_template(0, first, 1)
    assert found() == before
    predictor.set_template(0, other, 1)
    predictor.set_template(0, first)  # a new target takes both places
    assert found() == before


# ---- When the second one is replaced


class TwoTemplates(nn.Module):
    """Finds its target in the middle with the scores that it is given, one after the other; keeps its templates."""

    templates, streams, template_size, search_size = 2, "both", 32, 64

    def __init__(self, scores):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.scores, self.seen = iter(scores), []

    def forward(self, template, search):
        self.seen.append(template[0].clone())
        score = torch.zeros(1, 1, 4, 4)
        score[0, 0, 2, 2] = next(self.scores)
        return {"score_map": score, "size_map": torch.full((1, 2, 4, 4), 0.25), "offset_map": torch.zeros(1, 2, 4, 4)}


def frame(value=0):
    return np.full((200, 300, 6), value, np.uint8)


def followed(scores, interval, present=None, first=(True, True)):
    """Red values of the second template in each frame after the first; frame k has red value k."""
    test = schema.TestConfig(
        window=False, template_update=schema.TemplateUpdateConfig(interval=interval, threshold=0.5)
    )
    model = TwoTemplates(scores)
    tracker = Tracker(model, test=test)
    tracker.initialize(frame(), (100, 80, 40, 40), present=first)
    for number, _ in enumerate(scores, 1):
        tracker.track(frame(number), present=(present or {}).get(number, (True, True)))
    assert all(torch.equal(templates[0], model.seen[0][0]) for templates in model.seen)  # the first one stays
    return [round((templates[1, 0].mean().item() * STD[0] + MEAN[0]) * 255) for templates in model.seen]


def test_confident_frames_at_the_interval_give_the_second_template():
    assert followed([0.9] * 7, 2) == [0, 0, 2, 2, 4, 4, 6]
    assert followed([0.9, 0.9, 0.9, 0.4, 0.9, 0.9, 0.9], 2) == [0, 0, 2, 2, 2, 2, 6]
    assert followed([0.5] * 5, 1) == [0] * 5  # above the threshold, not at it


def test_interval_of_zero_leaves_both_templates():
    assert followed([0.9] * 4, 0) == [0] * 4


def test_frame_that_lacks_a_stream_gives_no_template_unless_the_first_frame_lacked_it():
    lacking = {2: (True, False)}
    assert followed([0.9] * 5, 2, lacking) == [0, 0, 0, 0, 4]
    assert followed([0.9] * 3, 2, lacking, first=(True, False)) == [0, 0, 2]


def test_going_through_an_earlier_run_again_leads_to_the_same_bits(make_model):
    model = lively(make_model(templates=2))
    test = schema.TestConfig(template_update=schema.TemplateUpdateConfig(interval=2, threshold=0.0))
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (60, 80, 6), dtype=np.uint8) for _ in range(8)]
    presents = [(True, True)] * 4 + [(True, False)] + [(True, True)] * 3

    def started():
        tracker = Tracker(model, test=test)
        tracker.initialize(frames[0], (30, 20, 16, 14))
        return tracker

    whole = started()
    rows = [whole.track(image, present=present) for image, present in zip(frames[1:], presents[1:], strict=True)]
    for stop in (1, 3, 5):
        again = started()
        for number in range(1, stop + 1):
            again.resume(frames[number], *rows[number - 1], presents[number])
        for number in range(stop + 1, len(frames)):
            box, score = again.track(frames[number], present=presents[number])
            assert (box.tolist(), score) == (rows[number - 1][0].tolist(), rows[number - 1][1])


# ---- Settings and files


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.templates=3"], r"model\.templates"),
        (["model.templates=2", "test.template_update.interval=-1"], r"template_update\.interval"),
        (["model.templates=2", "test.template_update.threshold=1.5"], r"template_update\.threshold"),
        (["test.template_update.interval=25"], r"template_update\.interval = 25: needs model\.templates=2"),
        (["model.method=vipt", "model.templates=2"], r"model\.method vipt takes one template; these take two: .*bat"),
        (["model.templates=2", "test.template_update.every=5"], "every"),
    ],
)
def test_impossible_settings_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load("rgbt_tiny", overrides)


def test_network_of_one_template_has_none_to_update(make_model):
    test = schema.TestConfig(template_update=schema.TemplateUpdateConfig(interval=25))
    with pytest.raises(ValueError, match=r"template_update\.interval=25 needs a network of two templates"):
        Tracker(make_model(), test=test)


def test_published_protocol_has_one_template_and_no_update():
    for name in ("rgbt_base", "rgbd_base", "rgbe_base", "rgb_base", "rgbt_tiny", "rgbt_small"):
        config = load(name)
        assert (config.model.templates, config.test.template_update.interval) == (1, 0)
    online = load("rgbt_base_online")
    assert (online.model.templates, online.test.template_update.interval) == (2, 25)


def test_adapters_trained_with_two_templates_are_refused_with_one_but_not_the_other_way_round(make_model, tmp_path):
    one, two = make_model(), make_model(templates=2)
    two.load_state_dict(one.state_dict())
    save_adapters(one, tmp_path / "one.safetensors")
    save_adapters(two, tmp_path / "two.safetensors")
    load_adapters(two, tmp_path / "one.safetensors")
    load_adapters(two, tmp_path / "two.safetensors")
    with pytest.raises(WeightsError, match=r"model\.templates=2 \(the model has 1\)"):
        load_adapters(one, tmp_path / "two.safetensors")
