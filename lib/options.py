"""What the command lines of all commands have in common: how they read paths, earlier names, and parts of data sets."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.datasets.parsing import read_names
from patrack.files import user_path

__all__ = ["Parser", "add_sequence_options", "chosen_sequences"]


class Parser(argparse.ArgumentParser):
    """A parser whose help is the command's docstring, and whose paths (`type=Path`) may begin with `~` or hold `$VAR`.

    Args:
        description: shown as it is written.
        epilog: likewise.
    """

    def __init__(self, description: str | None, epilog: str | None = None) -> None:
        super().__init__(description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.register("type", Path, _path)

    def earlier_name(self, earlier: str, option: str) -> None:
        """Let an option go on working under a name that it had; help and errors show today's."""
        self._option_string_actions[earlier] = self._option_string_actions[option]


def _path(text: str) -> Path:
    """Read a path as it is typed."""
    try:
        return user_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
