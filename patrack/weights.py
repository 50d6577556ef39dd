"""Weights files: every format that is read or written, and the names each of them uses.

| file | holds | written by | read by |
|---|---|---|---|
| base model, .safetensors | everything outside the adapters | `save_base_model` | `load_base_model` |
| adapters, .safetensors | adapters, and the hash of the base model they belong to | `save_adapters` | `load_adapters` |
| model, .safetensors | both | `save_model` | `load_checkpoint` |
| training checkpoint | under "model": what trains (adapters or everything) | the trainer | `load_checkpoint` |
| OSTrack, .pth.tar | base model under "net", beside pickled classes of that project | - | `load_base_model` |
| timm or MAE ViT | backbone without head | `base_model_path` | `load_base_model(..., backbone_only=True)` |
| release of a method | base model, adapters and tensors nobody uses | - | `load_published`, `load_checkpoint` |

Reading never executes code from a file, and is all or nothing: a model is changed only if every tensor fits.
The norms in front of the entangled adapters exist only with them, so they travel in the adapter file. Files with
adapters state the settings that no tensor shows (forms, initial values, fusion) and are refused under others.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from torch import Tensor, nn

from patrack.config import project_path, with_new_names
from patrack.methods import METHODS
from patrack.network import TEMPLATES, Network, adapter_names, adapter_parameters, base_model_names
from patrack.tensorfiles import WeightsError, fill, hash_tensors, problems, read_tensors, write_tensors

__all__ = [
    "WeightsError",
    "base_model_hash",
    "base_model_path",
    "checkpoint_kind",
    "load_adapters",
    "load_base_model",
    "load_checkpoint",
    "load_published",
    "model_hash",
    "published_names",
    "save_adapters",
    "save_base_model",
    "save_model",
]

ADAPTER_FORMAT = "patrack-adapters"
BASE_MODEL_FORMAT = "patrack-base-model"
MODEL_FORMAT = "patrack-model"
RENAMED_FORMATS = {"patrack-foundation": BASE_MODEL_FORMAT}
TRAINING_KIND = "patrack-training"
VERSION = "1"
HEADS = "model.num_heads"

Reading = dict[str, str]
"""Settings that change what the same tensors compute: config key -> value."""

# Our names to the published ones, besides a method's own. OSTrack's are the same; timm's the same without "backbone.".
_TO_PUBLISHED = (
    (r"^head\.score\.", "head.ctr."),
    (r"^head\.(ctr|size|offset)\.4\.", r"box_head.conv5_\1."),
)
_HEAD_BLOCK = re.compile(r"^head\.(ctr|size|offset)\.([0-3])\.(conv|bn)\.")
_BLOCK = re.compile(r"(?:backbone\.)?blocks\.(\d+)\.")
_UNUSED_OSTRACK = (r"backbone\.cls_token", r"backbone\.pos_embed", r"(backbone\.)?norm1\.(weight|bias)")
_UNUSED_TIMM = (r"cls_token", r"mask_token", r"head\..*", r"fc_norm\..*", r"decoder_.*")
_LAYER_SCALE = {"ls1": "attn.proj", "ls2": "mlp.fc2"}  # timm's name: the layer before it
TIMM = "timm:"
OSTRACK_FOLDERS = {
    "OSTrack_ep0300.pth.tar": "vitb_256_mae_ce_32x4_ep300",
    "OSTrack_mae_ep0300.pth.tar": "vitb_256_mae_32x4_ep300 (OSTrack_ep0300.pth.tar there)",
}
"""Our experiments' names of OSTrack's files: where they lie in its model zoo, which calls them all alike."""


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and header as `read_tensors` does; earlier names in the header become today's.

    Raises:
        WeightsError: as `read_tensors`; an entry of the header that must be a JSON object is none.
    """
    tensors, metadata = read_tensors(Path(path))
    metadata = with_new_names(metadata)
    for key in ("config", "reading"):
        try:
            readable = isinstance(json.loads(metadata.get(key, "{}")), dict)
        except (ValueError, RecursionError):
            readable = False
        if not readable:
            raise WeightsError(f"{path}: {key!r} in its header must be a JSON object, got {metadata[key][:80]!r}")
    if "format" in metadata:
        metadata["format"] = RENAMED_FORMATS.get(metadata["format"], metadata["format"])
    return tensors, metadata


def load_published(
    model: Network,
    state_dict: Mapping[str, Tensor],
    source: str = "published weights",
    resize_position_embeddings: bool = False,
) -> None:
    """Fill a whole model from tensors under the names of its method's release, at any size.

    What reaches no output there is left out by an explicit list: `Network.unused_published`.

    Raises:
        WeightsError: the model is of another method, form, start or fusion than the published one; tensors missing,
            left over, of another shape, or not finite.
    """
    theirs, own = published_method(state_dict), model.config.method if model.streams == "both" else "none"
    if theirs not in ("", own):
        raise WeightsError(
            f"{source} is of the release of {theirs}, the model's method is {own}: set model.method={theirs}"
        )
    refuse_other_reading(model, model.published_reading(), source)
    unused = (*_UNUSED_OSTRACK, *model.unused_published())
    fill(model, published_names(model), state_dict, source, unused, resize_position_embeddings, reshape=True)


def published_names(model: Network) -> dict[str, str]:
    """Our name -> the release's name, for every tensor of the model (a gate keeps ours: no release has one)."""
    return {name: _to_published(name, model.PUBLISHED_NAMES) for name in model.state_dict()}


def published_method(tensors: Iterable[str]) -> str:
    """Tell from the names in a file of whose release it is: a name in `METHODS`, or "" if of none."""
    names = list(tensors)
    marks = {method: network.PUBLISHED_MARK for method, network in METHODS.items() if network.PUBLISHED_MARK}
    return next((method for method, mark in marks.items() if any(mark in name for name in names)), "")


def _to_published(name: str, of_the_method: Iterable[tuple[str, str]] = ()) -> str:
    for pattern, replacement in (*of_the_method, *_TO_PUBLISHED):
        name = re.sub(pattern, replacement, name)
    return _HEAD_BLOCK.sub(
        lambda m: f"box_head.conv{int(m[2]) + 1}_{m[1]}.{0 if m[3] == 'conv' else 1}.", name, count=1
    )


def source_of(path: Path) -> str:
    """Say where a base model that is not there comes from."""
    if "ostrack" in path.name.lower():
        folder = f"folder {OSTRACK_FOLDERS[path.name]} of " if path.name in OSTRACK_FOLDERS else ""
        return (
            f"It is OSTrack's: put the file there, from {folder}the model zoo that github.com/botaoye/OSTrack links to"
        )
    return "Train it with an rgb_* experiment"


def base_model_path(name: str) -> Path:
    """Find the file that `model.base_model` names; a ViT of timm's is fetched when it is asked for the first time.

    Args:
        name: a path, relative to the project, or `timm:` and a model with weights, such as
            `timm:vit_base_patch16_224.mae`; it is kept as `weights/timm/vit_base_patch16_224.mae.safetensors`.

    Raises:
        WeightsError: there is no such file; timm has no such weights, or can't reach them.
    """
    if not name.startswith(TIMM):
        try:
            path = project_path(name)
        except ValueError as error:
            raise WeightsError(f"model.base_model: {error}") from None
        if not path.is_file():
            raise WeightsError(
                f"model.base_model = {name!r}: {path} not found. {source_of(path)}, or set model.base_model=FILE or "
                "timm:MODEL"
            )
        return path
    model = name.removeprefix(TIMM)
    path = project_path(f"weights/timm/{PurePath(model).name}.safetensors")
    if not path.is_file():
        import timm  # here, because it is needed once and takes a while to start

        try:
            vit = timm.create_model(model, pretrained=True, num_classes=0)
        except (RuntimeError, OSError, ValueError) as error:
            raise WeightsError(
                f"model.base_model={name}: timm can't give these weights ({error}). Choose one of "
                f"timm.list_models('vit_*', pretrained=True), or put its file at {path}"
            ) from error
        write_tensors(vit.state_dict(), path, {"source": name})
    return path


def load_base_model(
    model: Network,
    path: str | os.PathLike[str],
    resize_position_embeddings: bool = False,
    backbone_only: bool = False,
) -> dict[str, str]:
    """Fill everything outside the adapters from a file, and what starts as a copy; its layout is told by its names.

    Args:
        model: changed in place, only if everything fits.
        path: our base model file, a checkpoint of base model training, OSTrack's .pth.tar, or a timm/MAE ViT.
        resize_position_embeddings: allow another token grid: position embeddings are interpolated (bicubic).
        backbone_only: accept a file without a head, which keeps its initial values, and one with more blocks than the
            model, of which the first are taken: to start base model training.

    Returns:
        The file's metadata (empty for foreign files).

    Raises:
        WeightsError: file unreadable or of unknown layout; tensors missing, left over, of another shape, not finite.
    """
    tensors, metadata = read_weights(path)
    kind = kind_of(tensors, metadata)
    if kind in ("adapters", "published"):
        raise WeightsError(f"{path} holds {kind} weights, not a base model; give it as checkpoint")
    heads = stated_reading(metadata, model).get(HEADS)
    if heads is not None:
        refuse_other_reading(model, {HEADS: heads}, str(path))
    names = {name: name for name in base_model_names(model)}
    unused: tuple[str, ...] = ()
    if "patch_embed.proj.weight" in tensors:
        tensors, unused = _from_timm(tensors), _UNUSED_TIMM
        names = {name: name.removeprefix("backbone.") for name in names}
    elif any(name.startswith("box_head.") for name in tensors):
        names = {name: _to_published(name) for name in names}
        unused = _UNUSED_OSTRACK
    elif "backbone.patch_embed.proj.weight" not in tensors:
        raise WeightsError(
            f"{path} is no base model: expected the names of a PATrack base model, OSTrack or timm ViT file, "
            f"found {len(tensors)} tensors: {', '.join(sorted(tensors)[:5])}, …"
        )
    if backbone_only:
        names = {ours: theirs for ours, theirs in names.items() if ours.startswith("backbone.")}
        depth = len(model.backbone.blocks)
        deeper = {name for name in tensors if (block := _BLOCK.match(name)) and int(block[1]) >= depth}
        unused = (*unused, r"(box_)?head\..*", *map(re.escape, deeper))
    fill(model, names, tensors, str(path), unused, resize_position_embeddings)
    state = model.state_dict()
    for ours, base in model.starts_as().items():
        state[ours].copy_(state[base])
    return metadata


def _from_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring a plain ViT into the form of a tracker's backbone.

    One position embedding with a class token becomes one each for template and search, without it; LayerScale is
    folded into the linear layer before it.
    """
    tensors = dict(tensors)
    for name in [name for name in tensors if name.endswith((".ls1.gamma", ".ls2.gamma"))]:
        block, scale, _ = name.rsplit(".", 2)
        gamma = tensors.pop(name)
        for part, factor in (("weight", gamma.unsqueeze(1)), ("bias", gamma)):
            layer = f"{block}.{_LAYER_SCALE[scale]}.{part}"
            tensors[layer] = factor * tensors[layer]
    position = tensors.pop("pos_embed", None)
    if position is None or position.ndim != 3:
        return tensors
    extra = position.shape[1] - math.isqrt(position.shape[1]) ** 2 if "cls_token" in tensors else 0
    return tensors | {"pos_embed_z": position[:, extra:], "pos_embed_x": position[:, extra:]}


def save_base_model(
    model: Network, path: str | os.PathLike[str], half: bool = True, metadata: Mapping[str, str] | None = None
) -> None:
    """Write everything outside the adapters, atomically.

    Args:
        model: its base model is written as it is.
        path: a .safetensors file.
        half: store floating-point values in 16 bits: half the size, and rounded, so that the file's hash is not the
            model's. Train adapters on what was loaded from the file.
        metadata: more entries for the header.

    Raises:
        WeightsError: a value isn't finite (in 16 bits, with `half`).
    """
    chosen = _chosen(model, base_model_names(model), half)
    write_tensors(chosen, Path(path), _header(BASE_MODEL_FORMAT, model, {}, metadata))


def save_model(
    model: Network, path: str | os.PathLike[str], half: bool = True, metadata: Mapping[str, str] | None = None
) -> None:
    """Write everything, adapters included, atomically: after full fine-tuning. Arguments as in `save_base_model`."""
    chosen = _chosen(model, model.state_dict(), half)
    write_tensors(chosen, Path(path), _header(MODEL_FORMAT, model, {}, metadata))


def save_adapters(
    model: Network, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None, half: bool = False
) -> None:
    """Write the adapters, with the hash of the base model they were trained on, atomically.

    Args:
        model: its adapters (and the norms in front of entangled ones) are written.
        path: a .safetensors file.
        metadata: more entries for the header, e.g. modality and config as JSON.
        half: store floating-point values in 16 bits (rounded).

    Raises:
        WeightsError: the model has no adapters, or a value isn't finite.
    """
    names = adapter_names(model)
    if not names:
        raise WeightsError("the model has no adapters to save; use save_base_model")
    fixed = {"base_model_sha256": base_model_hash(model)}
    write_tensors(_chosen(model, names, half), Path(path), _header(ADAPTER_FORMAT, model, fixed, metadata))


def load_adapters(model: Network, path: str | os.PathLike[str]) -> dict[str, str]:
    """Fill the adapters from a file written by `save_adapters`, or from a checkpoint of adapter training.

    Returns:
        The file's metadata.

    Raises:
        WeightsError: not such a file, another base model, form, start or fusion, or tensors that don't fit.
    """
    tensors, metadata = read_weights(path)
    if kind_of(tensors, metadata) != "adapters":
        raise WeightsError(f"{path} is no adapter file, it holds {kind_of(tensors, metadata)} weights")
    _load_adapters(model, tensors, metadata, str(path))
    return metadata


def _load_adapters(model: Network, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> None:
    names = {name: name for name in adapter_names(model)}
    if not names:
        raise WeightsError(f"{source} holds adapters, but the model has none: set model.streams=both")
    refuse_other_reading(model, stated_reading(metadata, model), source)
    wanted, present = metadata.get("base_model_sha256", ""), base_model_hash(model)
    if is_training(metadata):  # holds what trains, not what a method adds and leaves as it is
        frozen = {name for name, _ in model.named_parameters()} - adapter_parameters(model).keys()
        names = {name: name for name in names if name not in frozen}
        wanted = metadata.get("base_model", "")
    if wanted != present and not problems(model, names, tensors):
        raise WeightsError(
            f"{source} was trained on another base model: it needs SHA-256 {wanted[:16]}..., the model's is "
            f"{present[:16]}...; set model.base_model to the file it was trained on (resized position embeddings make "
            "another base model)"
        )
    fill(model, names, tensors, source)


def load_checkpoint(model: Network, path: str | os.PathLike[str], resize_position_embeddings: bool = False) -> str:
    """Fill a model from any file that this module knows; the format is detected.

    Args:
        model: changed in place, only if everything fits.
        path: of the file.
        resize_position_embeddings: see `load_base_model`; adapter files have none.

    Returns:
        Its kind, see `checkpoint_kind`.

    Raises:
        WeightsError: as the function for that format.
    """
    tensors, metadata = read_weights(path)
    kind = kind_of(tensors, metadata)
    if kind == "adapters":
        _load_adapters(model, tensors, metadata, str(path))
    elif kind == "published":
        load_published(model, tensors, str(path), resize_position_embeddings)
    elif kind == "full":
        refuse_other_reading(model, stated_reading(metadata, model), str(path))
        names = {name: name for name in model.state_dict()}
        fill(model, names, tensors, str(path), resize_position_embeddings=resize_position_embeddings)
    elif adapter_names(model):
        raise WeightsError(f"{path} holds no adapters, but the model has some: set model.base_model to it instead")
    else:
        load_base_model(model, path, resize_position_embeddings)
    return kind


def checkpoint_kind(path: str | os.PathLike[str]) -> str:
    """Tell what a weights file holds: "adapters", "base_model", "full" (a whole model) or "published" (likewise).

    Raises:
        WeightsError: the file can't be read.
    """
    return kind_of(*read_weights(path))


def base_model_hash(model: Network) -> str:
    """SHA-256 of everything outside the adapters: names, shapes and values (floating-point ones as 32 bits), sorted."""
    state = model.state_dict()
    return hash_tensors({name: state[name] for name in base_model_names(model)})


def model_hash(model: nn.Module) -> str:
    """SHA-256 of the whole model, in the same way: what a result was computed with."""
    return hash_tensors(model.state_dict())


def _chosen(model: Network, names: Iterable[str], half: bool) -> dict[str, Tensor]:
    state = model.state_dict()
    return {name: state[name].half() if half and state[name].is_floating_point() else state[name] for name in names}


def _header(kind: str, model: Network, fixed: Mapping[str, str], more: Mapping[str, str] | None) -> dict[str, str]:
    """The header of a file of ours.

    Args:
        kind: one of the three formats.
        model: whose weights are written.
        fixed: further entries that belong to the format.
        more: the caller's entries.

    Raises:
        ValueError: an entry of the caller's has the name of one of ours.
    """
    ours = {"format": kind, "version": VERSION, **fixed}
    if kind != BASE_MODEL_FORMAT:
        ours["reading"] = json.dumps(reading_of(model), sort_keys=True)
    clash = sorted(ours.keys() & (more or {}).keys())
    if clash:
        raise ValueError(f"metadata keys {clash} are written by this function; leave them out")
    return {**ours, **(more or {})}


def kind_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Tell what a file holds: "adapters", "base_model", "full" (a whole model) or "published" (likewise)."""
    if metadata.get("format") == ADAPTER_FORMAT or (is_training(metadata) and metadata.get("base_model")):
        return "adapters"
    if published_method(tensors):
        return "published"
    if metadata.get("format") != BASE_MODEL_FORMAT and any(name.startswith("head.score.") for name in tensors):
        return "full"
    return "base_model"


def stated_modality(metadata: Mapping[str, str]) -> str:
    """Read from a header for which modality the file was trained; "" where it doesn't say so."""
    return str(metadata.get("modality") or json.loads(metadata.get("config", "{}")).get("modality") or "")


def is_training(metadata: Mapping[str, str]) -> bool:
    """Recognize the header of the trainer's checkpoints, which name their base model if it was frozen."""
    return metadata.get("kind") == TRAINING_KIND


def reading_of(model: Network) -> Reading:
    """List the settings of a model that no tensor's name or shape shows."""
    method = {"model.method": model.config.method} if model.streams == "both" else {}
    return {**method, HEADS: str(model.config.num_heads), **model.reading()}


def stated_reading(metadata: Mapping[str, str], model: Network) -> Reading:
    """List the settings that a header states, by itself or in the configuration of its training; may be empty."""
    stated: Reading = {}
    for key in (HEADS,) if "reading" in metadata else reading_of(model):
        value: Any = json.loads(metadata.get("config", "{}"))
        for word in key.split("."):
            value = value.get(word) if isinstance(value, Mapping) else None
        if key == "model.modalities" and isinstance(value, list):
            value = ", ".join(map(str, value))
        if isinstance(value, str | int):
            stated[key] = str(value)
    return stated | json.loads(metadata.get("reading", "{}"))


def refuse_other_reading(model: Network, stated: Mapping[str, str], source: str) -> None:
    """Stop where a file's tensors would fit, but compute something else than in their training.

    Raises:
        WeightsError: lists the settings that differ.
    """
    own = {TEMPLATES: "1"} | reading_of(model)
    wrong = [f"{key}={stated[key]} (the model has {own[key]})" for key in own if stated.get(key, own[key]) != own[key]]
    if wrong:
        raise WeightsError(
            f"{source} was made with other settings, and means something else without them; set\n  "
            + "\n  ".join(wrong)
        )
