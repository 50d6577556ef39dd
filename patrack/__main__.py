"""`python -m patrack`: the command `patrack`."""

import sys

from patrack.commands import main

if __name__ == "__main__":
    sys.exit(main())
