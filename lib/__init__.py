"""The framework around the method: configuration, data sets, training, evaluation and reports. Imports `patrack`."""

import patrack  # noqa: F401 (sets how threads wait, before anything here loads PyTorch)
