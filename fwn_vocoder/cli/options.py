"""The command line's application, and the options that several commands share."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from fwn_vocoder.errors import ConfigError

HELP = """The ``fwn`` command: each subcommand parses its arguments, calls one function, and prints.

stdout carries data only; logs and progress bars go to stderr. Exit codes: 0 done, 2 usage or
configuration, 3 bad input, 4 partial, 5 model.
"""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP
)

Job = Annotated[str, typer.Option(help="Do part K of N only: K/N.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
Temperature = Annotated[
    float | None, typer.Option(help="Spread of the noise; default: the checkpoint's own.")
]
VocoderName = Annotated[
    str | None, typer.Option("--vocoder", help="Registry name, or a .safetensors checkpoint.")
]
Resume = Annotated[str, typer.Option(help="auto: continue a run if there is one; no: refuse.")]
MaxSteps = Annotated[int | None, typer.Option(help="Stop after this many steps in all.")]
MaxMinutes = Annotated[float | None, typer.Option(help="Stop after this time.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from fwn_vocoder import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log warnings only.")] = False,
) -> None:
    """FloWaveNet as the vocoder of Tacotron-style text-to-speech."""
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    # Ours alone: ESPnet and its kin report every layer that they initialise.
    logging.getLogger("fwn_vocoder").setLevel(level)


def is_auto(resume: str) -> bool:
    """Return whether ``--resume auto`` was given; raise ``ConfigError`` for other words."""
    if resume not in ("auto", "no"):
        raise ConfigError(f"--resume {resume!r}: expected auto or no")
    return resume == "auto"
