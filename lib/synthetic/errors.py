"""The error that everything here raises for what a user can mend."""

__all__ = ["SyntheticError"]


class SyntheticError(ValueError):
    """A SynthRGBX data set cannot be made as asked."""
