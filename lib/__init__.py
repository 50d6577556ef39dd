"""The framework around the method: configuration, data sets, training, evaluation and reports. Imports `patrack`."""

import os
import sys

import patrack  # noqa: F401 (sets how threads wait, before anything here loads PyTorch)

# Progress bars in a log file: a line every half minute, instead of ten a second. Read when tqdm is loaded.
if sys.stderr is not None and not sys.stderr.isatty():
    os.environ.setdefault("TQDM_MININTERVAL", "30")
