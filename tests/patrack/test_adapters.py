"""The adapters' own behaviour; their numbers are held to the published ones in test_parity.py."""

from __future__ import annotations

import pytest
import torch

from patrack.methods.patrack import ModalityDependentAdapter, ModalityEntangledAdapter, TaskAdapter
from patrack.network import FusionGate
from patrack.vit import TokenLayout


def tokens(rows: int, layout: TokenLayout, dim: int = 16) -> torch.Tensor:
    count = layout.num_template + layout.num_search
    return torch.randn(rows, count, dim, generator=torch.Generator().manual_seed(rows + count))


@pytest.mark.parametrize(("template", "search", "dim"), [(2, 4, 16), (6, 12, 24), (4, 10, 8)])
def test_every_grid_and_width_keeps_its_shape(template: int, search: int, dim: int) -> None:
    layout = TokenLayout(template, search)
    both = tokens(4, layout, dim)
    assert ModalityDependentAdapter(dim, 4).exchange(both, layout).shape == both.shape
    assert ModalityEntangledAdapter(dim, 4)(both, layout).shape == both.shape


def test_published_mda_feeds_the_other_stream_and_the_paper_form_its_own() -> None:
    layout = TokenLayout(2, 4)
    both = tokens(4, layout)
    published = ModalityDependentAdapter(16, 4, "published")
    paper = ModalityDependentAdapter(16, 4, "paper")
    paper.load_state_dict(published.state_dict())
    own = paper.exchange(both, layout)
    torch.testing.assert_close(published.exchange(both, layout), torch.cat((own[2:], own[:2])), atol=0, rtol=0)
    changed = both.clone()
    changed[2:] += 1  # X alone
    torch.testing.assert_close(paper.exchange(changed, layout)[:2], own[:2])
    assert not torch.allclose(published.exchange(changed, layout)[:2], published.exchange(both, layout)[:2])


def test_published_mda_exchanges_rows_where_they_are_narrow() -> None:
    layout = TokenLayout(2, 4)
    adapter = ModalityDependentAdapter(16, 4)
    expanded = []
    adapter.expand.register_forward_hook(lambda _module, _inputs, output: expanded.append(output))
    assert adapter.exchange(tokens(4, layout), layout) is expanded[0]  # nothing is copied at the full width


def test_gradients_of_template_and_search_meet_in_one_operation() -> None:
    layout = TokenLayout(2, 4)
    template, search = layout.split(tokens(2, layout).requires_grad_())
    assert template.shape[1] == 4
    assert search.shape[1] == 16
    assert template.grad_fn is search.grad_fn


def test_mda_never_mixes_template_and_search() -> None:
    layout = TokenLayout(2, 4)
    adapter = ModalityDependentAdapter(16, 4)
    both = tokens(2, layout)
    changed = both.clone()
    changed[:, :4] += 1
    before, after = adapter(both, layout), adapter(changed, layout)
    assert torch.equal(before[:, 4:], after[:, 4:])
    assert not torch.allclose(before[:, :4], after[:, :4])


def test_mda_low_part_is_blind_to_detail_within_a_cell_of_two_by_two() -> None:
    """The averaged half of the bottleneck only sees the mean of 2x2 tokens."""
    layout = TokenLayout(2, 4)
    adapter = ModalityDependentAdapter(4, 4, parts="low")
    flat = torch.zeros(1, 4 + 16, 4)
    detailed = flat.clone()
    detailed[0, [4, 9]] += 1.0  # two diagonal corners up,
    detailed[0, [5, 8]] -= 1.0  # two down: the cell's mean stays
    torch.testing.assert_close(adapter(detailed, layout), adapter(flat, layout))
    high = ModalityDependentAdapter(4, 4, parts="high")
    assert not torch.allclose(high(detailed, layout), high(flat, layout))


@pytest.mark.parametrize(
    ("part", "bottleneck", "fused"), [("high", slice(0, 4), slice(0, 8)), ("low", slice(4, 8), slice(8, 12))]
)
def test_one_part_of_mda_computes_what_it_adds_to_both(part: str, bottleneck: slice, fused: slice) -> None:
    layout = TokenLayout(2, 4)
    both, alone = ModalityDependentAdapter(16, 8), ModalityDependentAdapter(16, 8, parts=part)
    state = both.state_dict()
    state |= {f"reduce.{name}": state[f"reduce.{name}"][bottleneck] for name in ("weight", "bias")}
    state["fuse_depthwise.weight"] = state["fuse_depthwise.weight"][fused]
    state["expand.weight"] = state["expand.weight"][:, fused]
    alone.load_state_dict({name: state[name] for name in alone.state_dict()})
    with torch.no_grad():  # the other part, whose channels stand apart all the way, adds nothing
        other = [channel for channel in range(12) if channel not in range(12)[fused]]
        both.expand.weight[:, other] = 0.0
    torch.testing.assert_close(alone(tokens(4, layout), layout), both(tokens(4, layout), layout))


@pytest.mark.parametrize("shared_query", [True, False], ids=["shared", "unshared"])
@pytest.mark.parametrize("form", ["published", "paper"])
def test_cea_agrees_with_attention_written_out(form: str, shared_query: bool) -> None:
    layout = TokenLayout(0, 2)
    adapter = ModalityEntangledAdapter(8, 4, form, shared_query=shared_query).double()
    both = tokens(2, layout, 8).double()
    r, t = adapter.down(both).chunk(2)
    s = None if adapter.shared is None else adapter.shared(torch.cat((r, t), 2))
    if form == "published":
        key = t if s is None else s
        weights = (adapter.rgb_match(r) @ key.transpose(1, 2)).softmax(2)
        rgb = adapter.up(weights @ adapter.rgb_value(r) + t)
    else:
        query = r if s is None else s
        weights = (query @ adapter.x_match(t).transpose(1, 2) / 2.0).softmax(2)  # sqrt(4)
        rgb = adapter.up(weights @ adapter.x_value(t))
    torch.testing.assert_close(adapter(both, layout)[:1], rgb)


@pytest.mark.parametrize("form", ["published", "paper"])
def test_unshared_cea_treats_both_streams_alike(form: str) -> None:
    layout = TokenLayout(2, 4)
    adapter = ModalityEntangledAdapter(16, 4, form, shared_query=False)
    for part in ("match", "value"):
        getattr(adapter, f"x_{part}").load_state_dict(getattr(adapter, f"rgb_{part}").state_dict())
    both = tokens(4, layout)
    out = adapter(both, layout)
    torch.testing.assert_close(adapter(both.roll(2, dims=0), layout), out.roll(2, dims=0))


def test_paper_cea_takes_values_from_the_other_stream_only() -> None:
    layout = TokenLayout(0, 2)
    adapter = ModalityEntangledAdapter(8, 4, "paper")
    with torch.no_grad():
        adapter.x_value.weight.zero_()
    out = adapter(tokens(2, layout, 8), layout)
    assert out[0].abs().max() == 0  # what RGB receives
    assert out[1].abs().max() > 0


def test_task_adapter_is_affine_and_a_skip_makes_it_neutral() -> None:
    x = torch.randn(3, 5, 16)
    adapter = TaskAdapter(16, 4, 0.5).eval()
    middle = adapter((x[:1] + x[1:2]) / 2)
    torch.testing.assert_close(middle, (adapter(x[:1]) + adapter(x[1:2])) / 2)
    neutral = TaskAdapter(16, 4, 0.5, skip=True)
    assert torch.equal(neutral(x), x)


def test_eliminated_tokens_are_zeros_on_the_grid_and_survivors_return_unchanged() -> None:
    kept = torch.tensor([[0, 3, 7], [1, 2, 15]])
    layout = TokenLayout(2, 4, streams=2, kept=kept)
    short = tokens(4, layout)[:, 4:]
    full = layout.to_full_search(short)
    assert full.shape == (4, 16, 16)
    for row, positions in enumerate(kept.repeat(2, 1).tolist()):
        gone = sorted(set(range(16)) - set(positions))
        assert full[row, gone].abs().max() == 0
    assert torch.equal(layout.to_kept_search(full), short)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [(lambda: ModalityDependentAdapter(16, 6), "hidden_dim must be a multiple of 4, got 6")],
    ids=["mda width"],
)
def test_impossible_sizes_are_refused(adapter, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapter()


def test_gate_starts_near_rgb_with_one_weight_for_every_token() -> None:
    rgb, x = torch.randn(2, 9, 16), torch.randn(2, 9, 16)
    fused = FusionGate(16)(rgb, x)
    share = torch.sigmoid(torch.tensor(FusionGate.START))
    assert torch.allclose(fused, rgb + share * (x - rgb), atol=1e-6)


def test_gate_weighs_each_token_by_both_streams() -> None:
    torch.manual_seed(0)
    gate = FusionGate(16)
    torch.nn.init.normal_(gate.weigh.weight)
    rgb, x = torch.randn(1, 9, 16), torch.randn(1, 9, 16)
    before = (gate(rgb, x) - rgb) / (x - rgb)  # (1, 9, 16), the same in every channel
    assert torch.allclose(before, before[..., :1].expand_as(before), atol=1e-4)
    assert before[0, :, 0].std() > 1e-4
    assert before.min() > 0
    assert before.max() < 1
    other = x.clone()
    other[:, 0] += 3.0  # one token of X tells the others something, through the mean
    after = (gate(rgb, other) - rgb) / (other - rgb)
    assert (after[:, 1:] - before[:, 1:]).abs().max() > 1e-5
