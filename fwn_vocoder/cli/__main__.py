"""``python -m fwn_vocoder.cli``, which torchrun starts."""

from fwn_vocoder.cli import main

main()
