"""The command `patrack`, also as `python -m patrack`: what a user of the package can do without writing Python."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from patrack import __version__
from patrack.options import Parser

__all__ = ["main"]

COMMANDS = {
    "track": "follow a target through two videos, folders of images or cameras",
    "export": "write the network as graphs for onnxruntime, OpenVINO or PyTorch without this package",
    "doctor": "say what is installed, what works, and what is missing",
}
"""Commands, each a module here with `add_options(parser)` and `run(arguments) -> exit code`."""
DESCRIPTION = """Follow one target through a video with two sensors: RGB plus a thermal, depth or event camera.

    patrack track --rgb visible.mp4 --x infrared.mp4 --box 120,80,40,60 --output out
    patrack doctor
"""


def parser_of(name: str, parsers: argparse._SubParsersAction[Parser]) -> None:
    """Add the options of a command."""
    module = importlib.import_module(f"patrack.commands.{name}")
    parser = parsers.add_parser(name, help=COMMANDS[name], description=module.__doc__)
    module.add_options(parser)
    parser.set_defaults(run=module.run)


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 done, 1 something failed, 2 wrong command line, 130 stopped by Ctrl-C or SIGTERM.
    """
    parser = Parser(DESCRIPTION, prog="patrack")
    parser.add_argument("--version", action="version", version=f"patrack {__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        parser_of(name, parsers)
    arguments = parser.parse_args(argv)
    from patrack.processes import terminated_as_interrupted

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        with terminated_as_interrupted():
            return int(arguments.run(arguments))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"patrack: {error}", file=sys.stderr)
        return 1
