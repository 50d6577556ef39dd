"""What all pictures share: titles of the curves and colours of the trackers."""

from __future__ import annotations

__all__ = ["COLOURS", "PLOTS"]

# File, title and ranking metric by the name of a curve.
PLOTS = {
    "SR": ("success", "Success", "SR"),
    "MSR": ("success", "Maximum success", "MSR"),
    "PR": ("precision", "Precision", "PR"),
    "MPR": ("precision", "Maximum precision", "MPR"),
    "NPR": ("normalized_precision", "Normalised precision", "NPR"),
    "Pr": ("precision_recall", "Precision and recall", "F"),
    "F": ("f_measure", "F-measure", "F"),
    "EAO": ("expected_overlap", "Expected average overlap", "EAO"),
}
# Told apart by eight colours that the colour-blind can separate (Okabe and Ito), then by the dash pattern.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
