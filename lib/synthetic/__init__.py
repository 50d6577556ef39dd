"""SynthRGBX: a procedural RGB+X benchmark whose sensors look at one common scene model."""

from lib.synthetic.benchmark import SyntheticError, generate

__all__ = ["SyntheticError", "generate"]
