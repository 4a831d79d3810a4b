"""Pictures of speech: waveform and mel spectrogram (matplotlib)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from fwn_vocoder.files import atomic_write

if TYPE_CHECKING:
    from fwn_vocoder.mel import MelSpec
    from fwn_vocoder.synthesizer import Audio


def save_picture(path: str | Path, audio: Audio, spec: MelSpec, title: str) -> None:
    """Draw the waveform above the mel spectrogram of its own samples, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from fwn_vocoder.mel import extract_mel

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    wave, mel = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    times = [i / audio.sample_rate for i in range(len(audio.wav))]
    wave.plot(times, audio.wav, linewidth=0.4)
    wave.set_ylabel("amplitude")
    wave.set_title(title)
    decibels = spec.to_log_magnitude(extract_mel(audio.wav, spec)) * (20 / math.log(10))
    image = mel.imshow(
        decibels.T,
        origin="lower",
        aspect="auto",
        extent=(0, audio.duration, 0, spec.n_mels),
        vmin=decibels.max() - 90,
        cmap="magma",
    )
    mel.set_ylabel("mel band")
    mel.set_xlabel("time [s]")
    figure.colorbar(image, ax=mel, label="dB")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100)
