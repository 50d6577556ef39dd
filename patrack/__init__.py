"""PATrack: progressive adaptation of an RGB tracker to a second sensor (arXiv 2603.21100)."""

from patrack.losses import tracking_loss
from patrack.model import PATrack, adapter_parameters, build_model, freeze_batchnorm, trainable_parameters
from patrack.tracker import Tracker

__version__ = "0.1.0"
__all__ = [
    "PATrack",
    "Tracker",
    "__version__",
    "adapter_parameters",
    "build_model",
    "freeze_batchnorm",
    "tracking_loss",
    "trainable_parameters",
]
