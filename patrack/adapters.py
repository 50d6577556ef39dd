"""Adapters by name on one base model, any of which can be the active one; the words are those of the peft library.

Folded networks of adapters on the same base model share all tensors that are alike, so that a further pair of sensors
costs little more memory than its adapters.
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain

import numpy as np
import torch
from torch import nn

from patrack.fused import FusedNetwork, share_tensors
from patrack.network import Network, adapter_parameters, base_network
from patrack.predictor import Predictor, tracking_network
from patrack.target import Settings

__all__ = ["DEFAULT", "Adapters", "TrackingModel"]

DEFAULT = "default"
"""Name of the adapter that a tracker is made with."""
FOLDING_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
"""Greatest mean difference between the maps of a folded network and those of its model, by the folded one's type."""
TF32_TOLERANCE = 0.02
"""The same on a GPU, whose convolutions round fp32."""


class TrackingModel:
    """A model in the form that tracks, and what belongs to it: with one adapter, or the base model alone.

    Args:
        model, device, precision: see `patrack.tracker.Tracker`.
        settings: of crops and tracking.
        modality: which pair of sensors the frames are; "rgb": RGB alone; None: not known.
        name: of the experiment, where there is one.

    Attributes:
        network: the folded copy of the model, or the model.

    Raises:
        ValueError: `test.template_update` asks for updates, and the model takes one template; or as `tracking_network`.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        device: str | torch.device | None = None,
        precision: str | None = None,
        modality: str | None = None,
        name: str = "",
    ) -> None:
        self.model, self.settings, self.precision = model, settings, precision
        self.modality, self.name = modality, name
        self.network = tracking_network(model, precision, None if modality == "rgb" else modality)
        interval = settings.test.template_update.interval
        if interval and self.network.templates == 1:  # to replace the only one measured worse than to leave it
            raise ValueError(
                f"test.template_update.interval={interval} needs a network of two templates (model.templates=2), of "
                "which one stays; this one takes one"
            )
        tensor = next(chain(self.network.parameters(), self.network.buffers()))
        self.device = tensor.device if device is None else torch.device(device)
        self.network.to(self.device)
        self._checked = self.network is model

    @cached_property
    def single(self) -> Predictor:
        """The predictor for one target."""
        return self.predictor()

    def predictor(self, slots: int = 1) -> Predictor:
        """Make a predictor, which finds up to `slots` targets in one step."""
        test = self.settings.test
        return Predictor(self.network, self.device, slots, test.window, test.compile, self._check_folding)

    @torch.inference_mode()
    def _check_folding(self, template: np.ndarray, search: np.ndarray) -> None:
        """Compare the folded network with the model it was made from, once, on a target's own crops.

        Raises:
            RuntimeError: they find something else, so that something in the model was lost.
        """
        if self._checked or not (isinstance(self.network, FusedNetwork) and isinstance(self.model, Network)):
            return
        difference = self.network.difference(self.model, torch.from_numpy(template), torch.from_numpy(search))
        allowed = max(FOLDING_TOLERANCE[self.network.dtype], TF32_TOLERANCE if self.device.type == "cuda" else 0.0)
        if difference > allowed:  # not NaN: what isn't finite is said with the frame where it happens
            raise RuntimeError(
                f"the folded network isn't the model that it was made from: their maps differ by {difference:.2g} on "
                f"average (allowed: {allowed:g}). Something in the model's forward is unknown to folding, or its "
                "weights have changed since; track with Tracker(PlainNetwork(model))"
            )
        self._checked = True


class Adapters:
    """The adapters of a tracker, of which one is active, or none: then the base model tracks alone.

    Args:
        first: with the adapter `DEFAULT`; or a base model without adapters.
    """

    def __init__(self, first: TrackingModel) -> None:
        self._models: dict[str, TrackingModel] = {}
        self._active: str | None = None
        if first.network.streams == "rgb" and isinstance(first.model, Network):
            self.base = first
        else:
            self._models[DEFAULT], self._active = first, DEFAULT

    @cached_property
    def base(self) -> TrackingModel:
        """The base model alone, which tracks in RGB; made when it is asked for the first time.

        Raises:
            ValueError: of a model that isn't one of ours, nobody knows the base model.
        """
        first = next(iter(self._models.values()))
        if not isinstance(first.model, Network):
            raise ValueError(f"a {type(first.model).__name__} has no base model that could track in RGB alone")
        base = TrackingModel(base_network(first.model), first.settings, first.device, first.precision, "rgb")
        self._share(base)
        return base

    @property
    def names(self) -> list[str]:
        """Names of the adapters, in the order they were loaded."""
        return list(self._models)

    @property
    def active_name(self) -> str | None:
        """Name of the active one; None: the base model alone."""
        return self._active

    @property
    def active(self) -> TrackingModel:
        """The active one, ready to track."""
        return self.base if self._active is None else self._models[self._active]

    @property
    def has_base(self) -> bool:
        """Tells whether `base` can be had."""
        return "base" in vars(self) or isinstance(next(iter(self._models.values())).model, Network)

    @property
    def network(self) -> Network:
        """A model with the base model's tensors.

        Raises:
            ValueError: as `base`.
        """
        known = next((model.model for model in self._models.values()), None)
        known = self.base.model if known is None else known
        if not isinstance(known, Network):
            raise ValueError(f"a {type(known).__name__} takes no adapters")
        return known

    def __getitem__(self, name: str) -> TrackingModel:
        """Return an adapter's model.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self._models:
            there = ", ".join(self._models) or "none is loaded"
            raise ValueError(f"no adapter {name!r}; there are: {there}")
        return self._models[name]

    def add(self, name: str, model: TrackingModel) -> None:
        """Add an adapter, which doesn't become the active one.

        Raises:
            ValueError: the name is taken or empty.
        """
        self.check_name(name)
        self._share(model)
        self._models[name] = model

    def check_name(self, name: str) -> None:
        """Stop where a name can't be given to another adapter.

        Raises:
            ValueError: it is taken or empty.
        """
        if not name or name in self._models:
            problem = "is loaded already: delete_adapter it first, or choose another name" if name else "is empty"
            raise ValueError(f"adapter_name {name!r} {problem}")

    def select(self, name: str | None) -> None:
        """Make an adapter the active one; None: the base model alone.

        Raises:
            ValueError: there is none of this name, or no base model.
        """
        _ = self.base if name is None else self[name]
        self._active = name

    def remove(self, name: str) -> None:
        """Remove an adapter. If it was the active one, the base model tracks alone.

        Raises:
            ValueError: there is none of this name, or no base model to go on with.
        """
        _ = self[name], self.base  # which is made of the models that are there
        if self._active == name:
            self._active = None
        del self._models[name]

    def counts(self) -> tuple[int, int]:
        """Count the parameters that the active adapter trains, and all of its model."""
        model = self.active.model
        total = sum(parameter.numel() for parameter in model.parameters())
        if not isinstance(model, Network):
            return 0, total
        return sum(parameter.numel() for parameter in adapter_parameters(model).values()), total

    def _share(self, model: TrackingModel) -> None:
        others = [*self._models.values(), *([self.base] if "base" in vars(self) else [])]
        for other in others:
            if isinstance(model.network, FusedNetwork) and isinstance(other.network, FusedNetwork):
                share_tensors(model.network, other.network)
