"""Options of commands that work on parts of data sets."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.datasets.parsing import read_names
from patrack.options import Parser

__all__ = ["Parser", "add_sequence_options", "chosen_sequences"]


def add_sequence_options(parser: argparse.ArgumentParser) -> None:
    """Add --sequences and --list, which say what part of a split is meant."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--sequences", nargs="+", metavar="NAME", help="only these (default: the whole split)")
    group.add_argument("--list", type=Path, metavar="FILE", help="only the sequences named in this file, one per line")


def chosen_sequences(arguments: argparse.Namespace) -> list[str] | None:
    """List the sequences that --sequences or --list name; None if neither is given.

    Raises:
        ValueError: the file can't be read, names a sequence twice, or none.
    """
    if arguments.list is None:
        names: list[str] | None = arguments.sequences
        return names
    names = read_names(arguments.list)
    if not names:
        raise ValueError(f"--list {arguments.list}: no name in this file; give one sequence per line")
    return names
