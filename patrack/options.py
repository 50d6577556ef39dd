"""What the command lines of all commands have in common: how they read paths, and earlier names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from patrack.files import user_path

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """A parser whose help is the command's docstring, and whose paths (`type=Path`) may begin with `~` or hold `$VAR`.

    Args:
        description: shown as it is written.
        epilog: likewise.
    """

    def __init__(self, description: str | None, epilog: str | None = None, **more: Any) -> None:
        shown = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, epilog=epilog, formatter_class=shown, **more)
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
