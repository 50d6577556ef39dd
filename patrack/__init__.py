"""PATrack: progressive adaptation of an RGB tracker to a second sensor (arXiv 2603.21100)."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patrack.build import load_tracker
    from patrack.losses import tracking_loss
    from patrack.methods.patrack import PATrack
    from patrack.network import Network, adapter_parameters, build_model, freeze_batchnorm, trainable_parameters
    from patrack.tracker import MultiTracker, Result, Tracker
    from patrack.video import track

# OpenMP's threads spin while they wait for each other at the end of an operation, by default for so long that a tracker
# falls to a quarter of its speed when one other process runs on two cores. With so few turns it keeps half of it, and
# an idle machine loses little (docs/speed.md). PyTorch's library reads this when it is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
__all__ = [
    "MultiTracker",
    "Network",
    "PATrack",
    "Result",
    "Tracker",
    "__version__",
    "adapter_parameters",
    "build_model",
    "freeze_batchnorm",
    "load_tracker",
    "track",
    "tracking_loss",
    "trainable_parameters",
]

_HOME = {
    "MultiTracker": "patrack.tracker",
    "PATrack": "patrack.methods.patrack",
    "Result": "patrack.tracker",
    "Tracker": "patrack.tracker",
    "load_tracker": "patrack.build",
    "track": "patrack.video",
    "tracking_loss": "patrack.losses",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: `patrack.crop` and `patrack.modality` need no PyTorch, and load none."""
    if name not in __all__:
        raise AttributeError(f"module 'patrack' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME.get(name, "patrack.network")), name)
