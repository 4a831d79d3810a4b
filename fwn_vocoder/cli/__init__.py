"""The ``fwn`` command: each subcommand parses its arguments, calls one function, and prints.

stdout carries data only; logs and progress bars go to stderr. Exit codes: 0 done, 2 usage or
configuration, 3 bad input, 4 partial, 5 model.
"""

from __future__ import annotations

import logging
import sys

# The order in which --help lists the commands.
# isort: off
from fwn_vocoder.cli import speech, vocoder, acoustic  # noqa: F401

# isort: on
from fwn_vocoder.cli.options import app
from fwn_vocoder.errors import FwnError


def main() -> None:
    """Run the command line; turn our errors into a message and an exit code."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    try:
        app()
    except FwnError as error:
        print(f"fwn: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
