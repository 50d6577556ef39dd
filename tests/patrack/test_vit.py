"""The base model's parts equal timm's, from whose vision transformer they descend."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from patrack.methods.patrack import ModalityDependentAdapter, PATrackBlock
from patrack.vit import Block, DropPath, PatchEmbed, TokenLayout


@pytest.mark.slow  # imports all of timm's models
def test_block_and_patch_embedding_equal_timms() -> None:
    from timm.layers import PatchEmbed as TimmPatchEmbed
    from timm.models.vision_transformer import Block as TimmBlock

    torch.manual_seed(0)
    theirs = TimmBlock(16, 4, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)).double().eval()
    ours = Block(16, 4).double().eval()
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.randn(2, 4 + 16, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(tokens, TokenLayout(2, 4))[0], theirs(tokens), atol=1e-12, rtol=0)

    image = torch.randn(2, 3, 8, 8)
    their_embedding, our_embedding = TimmPatchEmbed(img_size=8, patch_size=4, embed_dim=16), PatchEmbed(4, 16)
    our_embedding.load_state_dict(their_embedding.state_dict())
    torch.testing.assert_close(our_embedding(image), their_embedding(image))


@pytest.mark.slow  # imports torchvision
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_stochastic_depth_equals_timms_and_draws_the_same_numbers(rate: float) -> None:
    from timm.layers import DropPath as TimmDropPath

    branch, outputs, next_numbers = torch.randn(64, 3, 5), [], []
    for layer in (DropPath(rate), TimmDropPath(rate)):
        torch.manual_seed(3)
        outputs.append(layer.train()(branch))
        next_numbers.append(torch.rand(1))
    assert torch.equal(*outputs)
    assert torch.equal(*next_numbers)


def test_stochastic_depth_leaves_out_whole_rows_and_scales_the_others() -> None:
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(400, 2, 3))
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 4 / 3]))
    rows = out.flatten(1)
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert 0.65 < (rows[:, 0] > 0).float().mean().item() < 0.85


def test_stochastic_depth_passes_everything_in_eval_mode() -> None:
    branch = torch.randn(4, 2, 3)
    assert DropPath(0.9).eval()(branch) is branch


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_rate_of_stochastic_depth_is_a_probability(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\], got"):
        DropPath(rate)


def test_autocast_casts_normalised_tokens_once_for_all_layers_that_read_them() -> None:
    layout = TokenLayout(2, 4)
    block = PATrackBlock(16, 2, mda=(ModalityDependentAdapter(16, 4), ModalityDependentAdapter(16, 4)))
    read: list[torch.Tensor] = []
    for layer in (block.attn.qkv, block.mda1.reduce, block.mlp.fc1, block.mda2.reduce):
        layer.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, _ = block(torch.randn(2, 20, 16), layout)
    assert read[0] is read[1]
    assert read[2] is read[3]
    assert {tensor.dtype for tensor in read} == {torch.bfloat16}
    assert out.dtype == torch.float32
