"""Training: which pairs are drawn, how they are augmented and loaded, the loop, and what it writes."""
