"""SynthRGBX: a procedural RGB+X benchmark whose sensors look at one common scene model."""

from lib.synthetic.benchmark import generate
from lib.synthetic.pictures import SyntheticError

__all__ = ["SyntheticError", "generate"]
