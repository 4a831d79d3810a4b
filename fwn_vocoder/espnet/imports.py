"""One place that explains how to install ESPnet when it is missing."""

from __future__ import annotations

import contextlib
import io
import sys
from importlib import import_module
from types import ModuleType

from fwn_vocoder.errors import MissingDependencyError


def import_espnet(module: str) -> ModuleType:
    """Import a module of espnet2.

    Raises:
        MissingDependencyError: it cannot be imported; the message names the cause and the fix.
    """
    try:
        # ESPnet prints to stdout that Flash Attention is missing; stdout is for data.
        with contextlib.redirect_stdout(io.StringIO()):
            return import_module(module)
    except ImportError as error:
        if sys.version_info >= (3, 12):
            fix = "pip install 'fwn-vocoder[espnet]'"
        else:
            fix = "tools/install.sh (on Python 3.11 pip cannot resolve espnet beside torch 2.13)"
        raise MissingDependencyError(
            f"{module} cannot be imported ({error}). Install ESPnet with: {fix}"
        ) from error
