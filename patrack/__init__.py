"""PATrack: progressive adaptation of an RGB tracker to a second sensor (arXiv 2603.21100)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patrack.build import load_tracker
    from patrack.losses import tracking_loss
    from patrack.methods.patrack import PATrack
    from patrack.network import Network, adapter_parameters, build_model, freeze_batchnorm, trainable_parameters
    from patrack.tracker import Tracker

__version__ = "0.1.0"
__all__ = [
    "Network",
    "PATrack",
    "Tracker",
    "__version__",
    "adapter_parameters",
    "build_model",
    "freeze_batchnorm",
    "load_tracker",
    "tracking_loss",
    "trainable_parameters",
]

_HOME = {
    "PATrack": "patrack.methods.patrack",
    "Tracker": "patrack.tracker",
    "load_tracker": "patrack.build",
    "tracking_loss": "patrack.losses",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: `patrack.crop` and `patrack.modality` need no PyTorch, and load none."""
    if name not in __all__:
        raise AttributeError(f"module 'patrack' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME.get(name, "patrack.network")), name)
