"""The vocoder that ``load_vocoder("flowavenet")`` gives: a FloWaveNet, compiled for sampling."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from fwn_vocoder.errors import DataError
from fwn_vocoder.models.base import Vocoder, check_finite
from fwn_vocoder.models.flowavenet import UNSTABLE, FloWaveNet, FloWaveNetConfig
from fwn_vocoder.models.linear_prediction import colour
from fwn_vocoder.sampler.steps import Affine, Places, inverse_steps

CHUNK_FRAMES = 1024
"""Frames that ``synthesize`` works on at a time, so that memory does not grow with the length."""

STREAM_FRAMES = 64
"""Frames of a piece that ``stream`` yields, about 0.7 s."""


class FloWaveNetSampler(Vocoder):
    """Samples from a trained FloWaveNet, the same function as its own ``synthesize``.

    The flow's state keeps the model's floating-point type; its networks may run in another one.

    Args:
        model: a trained model; its weights are copied, and its flow is not kept.
        dtype: of the networks; None for the model's.
    """

    config_class = FloWaveNetConfig

    @torch.no_grad()
    def __init__(self, model: FloWaveNet, dtype: torch.dtype | None = None) -> None:
        self.config = model.config
        self.mel_spec = model.mel_spec
        self.network_dtype = dtype or model.dtype
        # Everything but the flow: what makes the condition and the filters.
        self.front = copy.copy(model)
        self.front._modules = {k: v for k, v in model._modules.items() if k != "flow"}
        n_channels = model.condition_channels
        halves = 2 if self.config.split_condition else 1
        self.array_widths = (n_channels // halves,) * halves
        channels = torch.arange(n_channels)
        places = Places(
            signal=torch.zeros(1, dtype=torch.long),
            width=1,
            arrays=channels // self.array_widths[0],
            columns=channels % self.array_widths[0],
            fold=1,
            widths=self.array_widths,
        )
        self.steps = inverse_steps(model.flow, places, self.network_dtype)

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self.front.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of mels, of the flow's state and of the waveform."""
        return self.front.dtype

    @property
    def context_frames(self) -> int:
        """Frames on each side that a frame of the waveform depends on, at most."""
        reach = sum(s.network.reach * s.width for s in self.steps if isinstance(s, Affine))
        frames = math.ceil(reach / self.mel_spec.hop_length)
        frames += len(self.config.resolved_upsample_scales())
        if self.front.excitation is not None:
            frames += 1 + self.front.excitation.predictor.reach
        frames += 2 * (self.front.linear_prediction is not None)
        if self.front.consistency is not None:
            frames += self.front.consistency.reach
        return frames

    @torch.no_grad()
    def synthesize(
        self,
        mel: Tensor,
        *,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Generate waveforms (B, T) from mels (B, n_mels, F); see ``Vocoder.synthesize``."""
        self.check_batch(mel)
        sampled = latent is None
        latent = self.front.latent(mel, temperature, generator, latent)
        hop_length, position = self.mel_spec.hop_length, 0

        def noise(n_frames: int) -> Tensor:
            nonlocal position
            position += n_frames * hop_length
            return latent[:, 0, position - n_frames * hop_length : position]

        return torch.cat(list(self._pieces([mel], noise, CHUNK_FRAMES, sampled)), dim=1)

    @torch.no_grad()
    def stream(
        self,
        mel_chunks: Iterable[Tensor],
        *,
        chunk_frames: int = STREAM_FRAMES,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """Yield pieces (B, t) of the waveform while its mel arrives.

        All pieces together are what ``synthesize`` makes of the whole mel, but for rounding. A
        piece is made as soon as ``context_frames`` frames beyond it have arrived.

        Args:
            mel_chunks: mels (B, n_mels, f) of any lengths, which follow each other.
            chunk_frames: frames of a piece; the last one may have fewer.
        """
        if chunk_frames < 1:
            raise DataError(f"chunk_frames is {chunk_frames}; it must be at least 1")
        scale = self.front.temperature(temperature)
        batch_size = None

        def checked() -> Iterator[Tensor]:
            nonlocal batch_size
            for mel in mel_chunks:
                self.check_batch(mel)
                if batch_size not in (None, len(mel)):
                    raise DataError(f"a chunk has batch size {len(mel)}, the first {batch_size}")
                batch_size = len(mel)
                yield mel

        def noise(n_frames: int) -> Tensor:
            shape = (batch_size, n_frames * self.mel_spec.hop_length)
            return scale * torch.randn(
                shape, generator=generator, device=self.device, dtype=self.dtype
            )

        yield from self._pieces(checked(), noise, chunk_frames, sampled=True)

    def _pieces(
        self,
        mels: Iterable[Tensor],
        noise: Callable[[int], Tensor],
        chunk_frames: int,
        sampled: bool,
    ) -> Iterator[Tensor]:
        """Yield the waveform piece by piece, each with full context around it."""
        hop_length, context = self.mel_spec.hop_length, self.context_frames
        window: Tensor | None = None  # the mel from frame `first` on, and its latent
        latent: Tensor | None = None
        first = done = 0
        tail = _Tail()
        for mel in itertools.chain(mels, [None]):
            if mel is not None:
                new = noise(mel.shape[2])
                window = mel if window is None else torch.cat([window, mel], dim=2)
                latent = new if latent is None else torch.cat([latent, new], dim=1)
            if window is None:
                return
            total = first + window.shape[2]
            while done < total:
                stop = min(done + chunk_frames, total)
                if mel is not None and stop + context > total:
                    break
                low, high = max(first, done - context), min(total, stop + context)
                wav = self._piece(
                    window[:, :, low - first : high - first],
                    latent[:, (low - first) * hop_length : (high - first) * hop_length],
                    done - low,
                    stop - low,
                    sampled,
                    tail,
                )
                yield wav
                done = stop
            keep = max(first, done - context)
            window, latent = window[:, :, keep - first :], latent[:, (keep - first) * hop_length :]
            first = keep

    def _piece(
        self,
        mel: Tensor,
        latent: Tensor,
        start: int,
        stop: int,
        sampled: bool,
        tail: _Tail,
    ) -> Tensor:
        """Return frames ``start`` to ``stop`` of the waveform (B, t) of a window."""
        hop_length, n_frames = self.mel_spec.hop_length, mel.shape[2]
        pitch = None
        if self.front.excitation is not None:
            pitch = self.front.excitation.predict(mel, tail.phase, start)
            tail.phase = pitch[:, 2, stop] if stop < n_frames else None
        samples = latent.clone()
        arrays = self._arrays(self.front.condition(mel, pitch, sampling=True))
        for step in self.steps:
            step.invert(samples, arrays)
        # The consistency filter looks ahead.
        consistency = self.front.consistency if sampled else None
        end = stop if consistency is None else min(n_frames, stop + consistency.reach)
        wav = samples[:, start * hop_length : end * hop_length]
        if sampled:
            wav = self.front.without_bias(wav)
        length = (stop - start) * hop_length
        if self.front.linear_prediction is not None:
            filters = self.front.linear_prediction(mel).frames(start, end, hop_length)
            wav = colour(wav[:, None], filters, tail.samples)[:, 0]
            tail.samples = wav[:, length - filters.coefficients.shape[2] : length]
        check_finite(wav, UNSTABLE)
        if consistency is None:
            return wav
        before = wav[:, :0] if tail.unfiltered is None else tail.unfiltered
        wav = torch.cat([before, wav], dim=1)
        first = start - before.shape[1] // hop_length
        filtered = consistency(wav, mel[:, :, first:end])
        kept = wav[:, : before.shape[1] + length]
        tail.unfiltered = kept[:, -consistency.reach * hop_length :]
        return filtered[:, before.shape[1] : before.shape[1] + length]

    def _arrays(self, condition: Tensor) -> list[Tensor]:
        """Return a condition (B, C, T) as arrays of rows (B, T, width)."""
        parts = condition.split(self.array_widths, dim=1)
        return [part.transpose(1, 2).to(self.network_dtype).contiguous() for part in parts]


class _Tail:
    """What a piece hands on to the next: phase of its first frame, last samples for the filters."""

    phase: Tensor | None = None
    samples: Tensor | None = None
    unfiltered: Tensor | None = None
