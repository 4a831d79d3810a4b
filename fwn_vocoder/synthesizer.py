"""``Synthesizer``: text in, waveform out."""

from __future__ import annotations

import base64
import io
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from fwn_vocoder.acoustic import AcousticModel, load_acoustic
from fwn_vocoder.audio import write_wav
from fwn_vocoder.errors import CheckpointError, ConfigError, TextError
from fwn_vocoder.mel import MelSpec, extract_mel, plan_conversion
from fwn_vocoder.registry import load_vocoder, vocoder_class
from fwn_vocoder.text.sentences import split_sentences
from fwn_vocoder.voices import VoiceConfig, find_voice

if TYPE_CHECKING:
    from fwn_vocoder.models.base import Vocoder

log = logging.getLogger(__name__)

PAUSE_S = 0.25
"""Silence between two sentences."""

MARGIN_S = 0.15
"""Silence before the first sentence and after the last one."""

SPEEDS = (0.5, 2.0)
"""Slowest and fastest that can be asked for."""


@dataclass(frozen=True)
class Audio:
    """Speech, with how it came about. A notebook shows it as a player.

    Attributes:
        wav: (T,) float32 samples in [-1, 1] nominally.
        sample_rate: Hz.
        mel: (F, n_mels) float32 that the vocoder spoke, ``T = F * hop_length``.
        synthesis_s: seconds of wall time that the synthesis took.
        warnings: what could not be spoken as written.
    """

    wav: np.ndarray
    sample_rate: int
    mel: np.ndarray
    synthesis_s: float
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.wav) / self.sample_rate

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of computing for a second of audio."""
        return self.synthesis_s / self.duration

    def save(self, path: str | Path) -> None:
        """Write 16-bit PCM; the format follows the suffix (.wav or .flac)."""
        write_wav(path, self.wav, self.sample_rate)

    def _repr_html_(self) -> str:
        import soundfile

        buffer = io.BytesIO()
        clipped = np.clip(self.wav, -1.0, 1.0)
        soundfile.write(buffer, clipped, self.sample_rate, format="WAV", subtype="PCM_16")
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'


class Synthesizer:
    """Speaks text with a voice.

    Args:
        voice: a voice directory, an ESPnet2 experiment, the name of a bundled voice, or None for
            the default voice.
        vocoder: a registry name, a FloWaveNet checkpoint (path), or a vocoder object, to be used
            instead of the voice's own.
        device: ``"cpu"``, ``"cuda"``, ..., or ``"auto"``: CUDA where there is one.

    Raises:
        CheckpointError: no such voice, or damaged weights.
        ConfigError: unknown vocoder or setting.
        MelMismatchError: the vocoder cannot speak the acoustic model's mels.
    """

    def __init__(
        self,
        voice: str | Path | None = None,
        vocoder: str | Path | Vocoder | None = None,
        device: str = "auto",
    ) -> None:
        self.device = resolve_device(device)
        self.directory, self.config = find_voice(voice)
        self.acoustic: AcousticModel = load_acoustic(
            self.config.acoustic, self.directory, self.device, **self.config.acoustic_conf
        )
        self.vocoder: Vocoder = _choose_vocoder(
            vocoder, self.config, self.directory, self.acoustic.mel_spec, self.device
        )
        self.conversion = plan_conversion(self.acoustic.mel_spec, self.vocoder.mel_spec)

    @property
    def sample_rate(self) -> int:
        """Sample rate of the audio in Hz."""
        return self.vocoder.sample_rate

    @overload
    def __call__(
        self, text: str, seed: int = 0, temperature: float | None = None, speed: float = 1.0
    ) -> Audio: ...

    @overload
    def __call__(
        self, text: list[str], seed: int = 0, temperature: float | None = None, speed: float = 1.0
    ) -> list[Audio]: ...

    def __call__(
        self,
        text: str | list[str],
        seed: int = 0,
        temperature: float | None = None,
        speed: float = 1.0,
    ) -> Audio | list[Audio]:
        """Speak a text of any length, or each text of a list.

        The same text, seed and settings give the same samples. What has no pronunciation is left
        out with a warning, which is logged and listed in ``Audio.warnings``.

        Args:
            temperature: spread of the vocoder's noise; None is the checkpoint's own.
            speed: 1 is the voice's own, 2 twice as fast.

        Raises:
            TextError: there is nothing to speak in the text.
            ConfigError: the speed is out of range, or the acoustic model has no other than 1.
        """
        if isinstance(text, list):
            return [self(item, seed, temperature, speed) for item in text]
        return _join(list(self.stream(text, seed, temperature, speed)))

    def stream(
        self, text: str, seed: int = 0, temperature: float | None = None, speed: float = 1.0
    ) -> Iterator[Audio]:
        """Yield the audio of a text as it is made: sentences, and the silences around them."""
        slowest, fastest = SPEEDS
        if not slowest <= speed <= fastest:
            raise ConfigError(f"speed is {speed}; it must be between {slowest} and {fastest}")
        sentences = split_sentences(text)
        spoken = 0
        for index, sentence in enumerate(sentences):
            started = time.perf_counter()
            try:
                utterance = self.acoustic(sentence, speed)
            except TextError as error:
                if len(sentences) == 1:
                    raise
                log.warning("%s", error)
                yield self._silence(0.0, (str(error),))
                continue
            yield self._silence(PAUSE_S if spoken else MARGIN_S)
            mel = self.conversion(utterance.mel)
            wav = self.vocoder.vocode(mel, seed=seed + index, temperature=temperature)
            warnings = tuple(f"not spoken: {piece!r}" for piece in utterance.unspoken)
            for warning in warnings:
                log.warning("%s (in %r)", warning, sentence[:60])
            spoken += 1
            yield Audio(wav, self.sample_rate, mel, time.perf_counter() - started, warnings)
        if not spoken:
            raise TextError(f"nothing can be spoken in {text[:60]!r}")
        yield self._silence(MARGIN_S)

    def _silence(self, duration_s: float, warnings: tuple[str, ...] = ()) -> Audio:
        spec = self.vocoder.mel_spec
        n_frames = round(duration_s * spec.sample_rate / spec.hop_length)
        wav = np.zeros(n_frames * spec.hop_length, np.float32)
        mel = np.repeat(self._silent_frame, n_frames, axis=0)
        return Audio(wav, self.sample_rate, mel, 0.0, warnings)

    @cached_property
    def _silent_frame(self) -> np.ndarray:
        """The mel of silence, (1, n_mels)."""
        spec = self.vocoder.mel_spec
        return extract_mel(np.zeros(2 * spec.n_fft), spec)[:1]


def _join(parts: list[Audio]) -> Audio:
    return Audio(
        np.concatenate([part.wav for part in parts]),
        parts[0].sample_rate,
        np.concatenate([part.mel for part in parts]),
        sum(part.synthesis_s for part in parts),
        tuple(warning for part in parts for warning in part.warnings),
    )


def _choose_vocoder(
    choice: str | Path | Vocoder | None,
    voice: VoiceConfig,
    directory: Path,
    mel_spec: MelSpec,
    device: str,
) -> Vocoder:
    """Load the vocoder that the caller or the voice names; never another one."""
    from fwn_vocoder.models.base import Vocoder

    if isinstance(choice, Vocoder):
        return choice
    name = str(choice) if choice is not None else voice.vocoder
    if name.endswith(".safetensors"):
        return load_vocoder("flowavenet", checkpoint=name, device=device)
    conf = dict(voice.vocoder_conf) if name == voice.vocoder else {}
    config_class = vocoder_class(name).config_class
    if "checkpoint" in conf:
        conf["checkpoint"] = directory / conf["checkpoint"]
    elif name == "flowavenet":
        raise CheckpointError(
            f"voice {voice.name!r} has no flowavenet weights: set vocoder_conf.checkpoint in its "
            "configuration, or give a checkpoint as the vocoder"
        )
    elif "mel" in config_class.model_fields and "mel" not in conf:
        conf["mel"] = mel_spec
    return load_vocoder(name, device=device, **conf)


def resolve_device(device: str) -> str:
    """Return ``device``; for ``"auto"`` CUDA where there is one, else the CPU."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
