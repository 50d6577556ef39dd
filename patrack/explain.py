"""Look inside a tracker: what the network attends to, keeps, and passes between the streams, in one frame.

The model is run once more beside the tracker, unfolded and with hooks, on the crops that the tracker takes, so that
tracking itself is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from patrack.methods.patrack import ModalityDependentAdapter, ModalityEntangledAdapter
from patrack.modality import PAIRS
from patrack.network import Network, modality_numbers, normalize
from patrack.recordings.overlay import panels
from patrack.target import Frame, Present
from patrack.tracker import Result, Tracker
from patrack.vit import Attention, TokenLayout

__all__ = ["Explainer", "Insight", "draw_insight", "look"]

PANEL = 168
"""Side of a picture of the search crop, pixels."""
BAR = 20
"""Height of the line with their names, pixels."""


@dataclass
class Insight:
    """What a network does with one search crop. Maps are (g, g), as the search tokens lie.

    Attributes:
        score: peak per cell, in [0, 1], before the window.
        kept: number of blocks that each token passes before it is eliminated; all of them if it isn't.
        attention: by stream, (blocks, g, g): how much the template's tokens look at each search token, mean over heads
            and template tokens; 0 where it is gone.
        high, low: by stream, strength (norm over channels, mean over adapters) of the high- and low-frequency parts of
            the modality-dependent adapters; empty without them.
        shared: strength of the features that both streams share, in the modality-entangled adapters; None without them.
    """

    score: np.ndarray
    kept: np.ndarray
    attention: dict[str, np.ndarray]
    high: dict[str, np.ndarray] = field(default_factory=dict)
    low: dict[str, np.ndarray] = field(default_factory=dict)
    shared: np.ndarray | None = None


@torch.inference_mode()
def look(model: Network, template: np.ndarray, search: np.ndarray, modality: str | None = None) -> Insight:
    """Run a model on two crops and keep what happens inside.

    Args:
        model: any method; stays as it is. Its attention is shown before another stream guides it (SEATrack).
        template: (Hz, Wz, C) uint8.
        search: (Hx, Wx, C) uint8.
        modality: of the crops, for models that treat pairs apart.
    """
    parameter = next(model.parameters())
    grid, streams = model.search_grid, ("rgb", "x") if model.streams == "both" else (model.streams,)
    attention: list[np.ndarray] = []
    kept = np.zeros(grid * grid, int)
    parts: dict[str, list[np.ndarray]] = {"high": [], "low": []}
    shared: list[np.ndarray] = []

    def attended(module: nn.Module, inputs: Any, output: Any) -> None:
        assert isinstance(module, Attention)
        tokens, layout = inputs[0], inputs[1]
        q, k, _ = module.qkv(tokens).unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias, first = layout.key_bias(k), layout.num_template
        logits = q[:, :, :first] @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        weights = (logits if bias is None else logits + bias).float().softmax(dim=3).mean(dim=(1, 2))  # (R, N)
        full = layout.to_full_search(weights[:, first:].unsqueeze(2)).squeeze(2)
        attention.append(full.cpu().numpy().reshape(len(streams), grid, grid))

    def passed(module: nn.Module, inputs: Any, output: Any) -> None:
        layout: TokenLayout = output[1]
        there = np.arange(grid * grid) if layout.kept is None else layout.kept[0].cpu().numpy()
        kept[there] += 1

    def split(module: ModalityDependentAdapter) -> Callable[[nn.Module, Any, Any], None]:
        def mixed(_: nn.Module, inputs: Any, output: Any) -> None:
            maps: Tensor = inputs[0]  # (R, W, g, g), high parts first
            if maps.shape[-1] != grid:
                return  # of a template
            width = module.fused_widths[0] + module.fused_widths[1]
            for name, part in (("high", maps[:, :width]), ("low", maps[:, width:])):
                if part.shape[1]:
                    parts[name].append(part.float().norm(dim=1).cpu().numpy())

        return mixed

    def entangled(module: nn.Module, inputs: Any, output: Any) -> None:
        assert isinstance(module, ModalityEntangledAdapter)
        if module.shared is None:
            return
        rgb, x = module.down(inputs[0]).chunk(2)
        strength = module.shared(torch.cat((rgb, x), dim=2)).float().norm(dim=2, keepdim=True)
        layout = inputs[1]
        one = TokenLayout(layout.template_grid, layout.search_grid, 1, layout.kept, templates=layout.templates)
        full = one.to_full_search(one.split(strength)[1])
        shared.append(full[0].cpu().numpy().reshape(grid, grid))

    hooks: list[tuple[nn.Module, Callable[..., None]]] = [(block, passed) for block in model.backbone.blocks]
    for module in model.modules():
        if isinstance(module, Attention):
            hooks.append((module, attended))
        elif isinstance(module, ModalityDependentAdapter):
            hooks.append((module.fuse_depthwise, split(module)))
        elif isinstance(module, ModalityEntangledAdapter):
            hooks.append((module, entangled))
    with _hooked(model, hooks):
        crops = [normalize(torch.from_numpy(crop)).unsqueeze(0).to(parameter) for crop in (template, search)]
        if model.templates > 1:
            crops[0] = crops[0].unsqueeze(1).expand(-1, model.templates, -1, -1, -1)
        output = model(*crops, modality=modality_numbers(modality, 1, parameter.device))
    by_stream = np.stack(attention, axis=1)  # (streams, blocks, g, g)
    insight = Insight(
        output["score_map"][0, 0].float().cpu().numpy(),
        kept.reshape(grid, grid),
        dict(zip(streams, by_stream, strict=True)),
    )
    for name, found in parts.items():
        if found:
            strengths = np.mean([maps[-len(streams) :] for maps in found], axis=0)
            setattr(insight, name, dict(zip(streams, strengths, strict=True)))
    insight.shared = np.mean(shared, axis=0) if shared else None
    return insight


@contextmanager
def _hooked(model: Network, hooks: list[tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    model.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode


class Explainer:
    """Tracks with a tracker, and looks inside in each frame.

        explainer = Explainer(tracker)  # initialized
        result, insight, crop = explainer.track(rgb, x)

    Args:
        tracker: of one of our networks.

    Raises:
        ValueError: it is another's network.
    """

    def __init__(self, tracker: Tracker) -> None:
        if not isinstance(tracker.model, Network):
            raise ValueError(f"a {type(tracker.model).__name__} can't be looked into: it is no network of PATrack's")
        self.tracker = tracker

    def track(
        self, rgb: np.ndarray | Frame | None, x: np.ndarray | None = None, *, present: Present = (True, True)
    ) -> tuple[Result, Insight | None, np.ndarray | None]:
        """Find the target in the next frame.

        Args:
            rgb, x, present: see `Tracker.track`.

        Returns:
            What `Tracker.track` returns; what went on inside; the search crop (g * p, g * p, C) uint8. None where
            there was nothing to look at.

        Raises:
            RuntimeError, ValueError: as `Tracker.track`.
        """
        crop, template, running = self.tracker.next_crop(rgb, x, present)
        result = self.tracker.track(rgb, x, present=present)
        if crop is None:
            return result, None, None
        model = running.model
        assert isinstance(model, Network)
        modality = running.modality if running.modality in PAIRS else None
        return result, look(model, template, crop, modality), crop


def draw_insight(insight: Insight, crop: np.ndarray, modality: str) -> np.ndarray:
    """Draw what went on inside as overlays of the search crop: a row per stream, a column per thing.

    Args:
        insight: of `look`.
        crop: the search crop, (S, S, 3 or 6) uint8.
        modality: says what X is, and in which order its colors are.

    Returns:
        (h, w, 3) uint8 in B, G, R order, h and w even.
    """
    depth = next(iter(insight.attention.values())).shape[0]
    pictures = dict(zip(("rgb", "x"), panels(crop, modality), strict=False))
    names = {"rgb": "RGB", "x": PAIRS[modality].kind if modality in PAIRS else "X"}
    rows = []
    for stream, attention in insight.attention.items():
        plain = cv2.resize(np.ascontiguousarray(pictures[stream][:, :, ::-1]), (PANEL, PANEL))
        gone = cv2.resize((insight.kept < depth).astype(np.uint8), (PANEL, PANEL), interpolation=cv2.INTER_NEAREST)
        dimmed = np.where(gone[:, :, None], plain // 4, plain)
        columns = [
            (names[stream], plain),
            ("score", _heat(plain, insight.score, 1.0)),
            (f"kept: {int((insight.kept == depth).sum())} of {insight.kept.size}", dimmed),
            ("attention, first half", _heat(plain, attention[: depth // 2].mean(axis=0))),
            ("attention, second half", _heat(plain, attention[depth // 2 :].mean(axis=0))),
        ]
        for name, maps in (("high", insight.high), ("low", insight.low)):
            if stream in maps:
                columns.append((f"{name} frequencies", _heat(plain, maps[stream])))
        if insight.shared is not None:
            columns.append(("shared query", _heat(plain, insight.shared)))
        rows.append(np.concatenate([_titled(name, picture) for name, picture in columns], axis=1))
    return np.concatenate(rows)


def _heat(picture: np.ndarray, values: np.ndarray, highest: float | None = None) -> np.ndarray:
    """Lay a map (g, g) over a picture (h, w, 3): from its least to its greatest value, or from 0 to `highest`."""
    low, high = (0.0, highest) if highest is not None else (float(values.min()), float(values.max()))
    scaled = ((values - low) / max(high - low, 1e-9) * 255).clip(0, 255).astype(np.uint8)
    large = cv2.resize(scaled, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.addWeighted(picture, 0.45, cv2.applyColorMap(large, cv2.COLORMAP_INFERNO), 0.55, 0)


def _titled(name: str, picture: np.ndarray) -> np.ndarray:
    bar = np.zeros((BAR, picture.shape[1], 3), np.uint8)
    cv2.putText(bar, name, (4, BAR - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([bar, picture])
