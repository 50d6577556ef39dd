"""The command `patrack`, also as `python -m patrack`: what a user of the package can do without writing Python."""

from __future__ import annotations

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


def make_parser() -> Parser:
    """Make the parser of all commands."""
    parser = Parser(DESCRIPTION, prog="patrack")
    parser.add_argument("--version", action="version", version=f"patrack {__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        module = importlib.import_module(f"patrack.commands.{name}")
        command = parsers.add_parser(name, help=purpose, description=module.__doc__)
        module.add_options(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 done, 1 something failed, 2 wrong command line, 130 stopped by Ctrl-C or SIGTERM.
    """
    arguments = make_parser().parse_args(argv)
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
