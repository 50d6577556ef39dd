"""DINOv2 as a starting point: the right file only, LayerScale folded, one picture's position embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from commands import load_command

fetch = load_command("scripts/fetch_dinov2.py")


def test_another_file_is_refused_before_it_is_parsed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not the file")
    assert fetch.main(["--onnx", str(tmp_path / "other.onnx"), "--output", str(tmp_path / "out.safetensors")]) == 1
    assert f"expected {fetch.MEMBER_SHA256}" in caplog.text
    assert not (tmp_path / "out.safetensors").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert fetch.main(["--onnx", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx" in caplog.text


def test_position_embeddings_are_neighbouring_pieces_of_one_grid() -> None:
    # a ramp in x and y, which bicubic interpolation keeps away from its border
    y, x = torch.meshgrid(torch.arange(37.0), torch.arange(37.0), indexing="ij")
    grid = torch.stack((x, y), dim=2).flatten(0, 1)[None]  # (1, 37 * 37, 2)
    vit = {"pos_embed": torch.cat((torch.zeros(1, 1, 2), grid), dim=1), "cls_token": torch.zeros(1, 1, 2)}
    tensors = fetch.backbone_tensors({**vit, "norm.bias": torch.ones(2)}, template_grid=6, search_grid=12)
    assert set(tensors) == {"backbone.norm.bias", "backbone.pos_embed_z", "backbone.pos_embed_x"}
    template, search = (tensors[f"backbone.pos_embed_{part}"].unflatten(1, (n, n)) for part, n in (("z", 6), ("x", 12)))
    step = 37 / 18
    assert torch.allclose(template[0, :, 0, 0] - search[0, 3:9, -1, 0], torch.full((6,), step), atol=0.01)  # beside it
    assert torch.allclose(template[0, :, 0, 1], search[0, 3:9, 0, 1], atol=0.01)  # at its middle's height
    assert torch.allclose(search[0, 5, 1:, 0].diff(), torch.full((10,), step), atol=0.05)
