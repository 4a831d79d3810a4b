"""Harmonic excitation: a phase reference that lets a flow follow the harmonics of a voice.

An extension of the published model (``excitation: harmonic``). It adds three rows at sample rate
to the condition: sine and cosine of the phase of the glottal pulses, and a sum of cosines at the
harmonics. Their amplitudes follow the mel's envelope, or are equal (a train of pulses) where the
flow sees a whitened signal. In training the phase is measured in the recording; in synthesis it is
integrated from a fundamental frequency that a small network predicts from the mel, so the vocoder
still takes a mel alone.

A pitch track is (B, 3, F), one column a frame, at the frames' centres:
fundamental frequency in Hz (interpolated where unvoiced), voicing in [0, 1], phase in cycles, 0 at
a pulse (see ``data.pulses``).
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fwn_vocoder.mel import MelSpec, mel_center_frequencies


class HarmonicExcitation(nn.Module):
    """Makes the excitation rows (B, 3, T) from a mel (B, n_mels, F) and its pitch track.

    Args:
        whitened: whether the flow sees the residual of a linear prediction.
    """

    N_ROWS = 3
    GAIN = 10.0
    """Brings speech of usual level (-20 dBFS) to about 1, the level of the other conditions."""

    def __init__(
        self, spec: MelSpec, mel_mean: float, mel_std: float, whitened: bool = False
    ) -> None:
        super().__init__()
        self.spec = spec
        self.whitened = whitened
        self.mel_mean = mel_mean
        self.mel_std = mel_std
        self.predictor = PitchPredictor(spec.n_mels)
        # Not a buffer: a change of the module's dtype must not round frequencies.
        self.centers = torch.from_numpy(mel_center_frequencies(spec).copy())

    @torch.no_grad()
    def forward(self, mel: Tensor, pitch: Tensor | None = None) -> Tensor:
        """Return the rows; without a measured ``pitch`` it is predicted from the mel."""
        pitch = self.predict(mel) if pitch is None else pitch
        phase, voicing = self._at_sample_rate(pitch)  # (B, T) each
        if self.whitened:
            harmonics = self._pulses(pitch, phase)
        else:
            harmonics = self.GAIN * self._sum_of_harmonics(mel, pitch, phase)
        angle = 2 * math.pi * phase
        rows = torch.stack([angle.sin(), angle.cos(), harmonics], dim=1)
        return (rows * voicing[:, None]).to(mel.dtype)

    def predict(self, mel: Tensor, phase: Tensor | None = None, frame: int = 0) -> Tensor:
        """Predict the pitch track (B, 3, F); the phase is integrated.

        Args:
            phase: (B,) cycles at a frame; None for 0.
            frame: that frame.
        """
        # In double precision, since the phase adds up rounding errors of the frequency.
        predictor = copy.deepcopy(self.predictor).double()
        with torch.no_grad(), torch.autocast(mel.device.type, enabled=False):
            f0, voicing = predictor.decode(self._normalise(mel.double()))
        cycles = f0 * (self.spec.hop_length / self.spec.sample_rate)  # per frame
        steps = (cycles[:, 1:] + cycles[:, :-1]) / 2
        track = F.pad(steps.cumsum(dim=1), (1, 0))
        track = track - track[:, frame : frame + 1]
        if phase is not None:
            track = track + phase[:, None]
        return torch.stack([f0, voicing, track % 1.0], dim=1)

    def loss(self, mel: Tensor, pitch: Tensor) -> Tensor:
        """Return the pitch predictor's loss (scalar) against measured tracks."""
        return self.predictor.loss(self._normalise(mel), pitch)

    def _normalise(self, mel: Tensor) -> Tensor:
        return (mel - self.mel_mean) / self.mel_std

    def _at_sample_rate(self, pitch: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate phase (cubic Hermite, in cycles) and voicing (linear) to (B, T)."""
        f0, voicing, phase = pitch.double().unbind(dim=1)
        cycles = f0 * (self.spec.hop_length / self.spec.sample_rate)  # per frame
        next_cycles, next_voicing = _shift(cycles), _shift(voicing)
        # What the measured phase gains on the integrated frequency until the next frame.
        gain = _shift(phase) - phase - (cycles + next_cycles) / 2
        gain = gain - gain.round()
        gain[:, -1] = 0.0
        u = torch.arange(self.spec.hop_length, device=pitch.device, dtype=torch.float64)
        u = u / self.spec.hop_length  # (hop,) position between frames
        bend = (next_cycles - cycles)[..., None] * (u**2 / 2)
        drift = gain[..., None] * (3 * u**2 - 2 * u**3)
        phase = phase[..., None] + cycles[..., None] * u + bend + drift  # (B, F, hop)
        voicing = torch.lerp(voicing[..., None], next_voicing[..., None], u)
        return phase.flatten(1), voicing.flatten(1)

    def _sum_of_harmonics(self, mel: Tensor, pitch: Tensor, phase: Tensor) -> Tensor:
        """Sum cosines at the harmonics, amplitudes by the mel's envelope: (B, T)."""
        f0 = pitch[:, 0].double()
        log_magnitude = self.spec.to_log_magnitude(mel.transpose(1, 2).double())  # (B, F, M)
        centers = self.centers.to(mel.device)
        spacing = torch.gradient(centers)[0]
        window_gain = self.spec.win_length / 2
        total = torch.zeros_like(phase, dtype=mel.dtype)
        phase = (phase % 1.0).to(mel.dtype)
        n_harmonics = int(self.spec.fmax / f0.min().clamp(min=20.0))
        for k in range(1, n_harmonics + 1):
            frequency = k * f0  # (B, F)
            band = torch.searchsorted(centers, frequency.contiguous())
            band = band.clamp(1, len(centers) - 1)
            low, high = centers[band - 1], centers[band]
            weight = ((frequency - low) / (high - low)).clamp(0, 1)
            below = log_magnitude.gather(2, band[..., None] - 1)[..., 0]
            above = log_magnitude.gather(2, band[..., None])[..., 0]
            # A band of width b holds about b / f0 harmonics, or less than one.
            share = torch.minimum(f0, spacing[band]) / window_gain
            amplitude = torch.lerp(below, above, weight).exp() * share
            amplitude = (amplitude * (frequency < self.spec.fmax)).to(mel.dtype)
            amplitude = _interpolate(amplitude, self.spec.hop_length)
            total += amplitude * torch.cos(2 * math.pi * k * phase)
        return total

    def _pulses(self, pitch: Tensor, phase: Tensor) -> Tensor:
        """Sum equal cosines at all harmonics below the mel's upper edge, of unit power: (B, T)."""
        harmonics = (self.spec.fmax / pitch[:, 0].double()).clamp(min=1.0)  # (B, F)
        count = _interpolate(harmonics, self.spec.hop_length)
        whole = count.floor()
        angle = 2 * math.pi * (phase - phase.round())
        half = torch.where(angle.abs() < 1e-6, 1e-6, angle / 2)
        dirichlet = torch.sin((2 * whole + 1) * half) / (2 * torch.sin(half)) - 0.5
        last = (count - whole) * torch.cos((whole + 1) * angle)
        return (dirichlet + last) * torch.sqrt(2 / count)


class PitchPredictor(nn.Module):
    """Predicts fundamental frequency (a distribution over log-spaced bins) and voicing."""

    LOWEST_HZ = 60.0
    BINS_PER_OCTAVE = 48
    N_BINS = 160
    CHANNELS = 128

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(n, self.CHANNELS, 5, padding=2)
            for n in (n_mels, self.CHANNELS, self.CHANNELS)
        )
        self.head = nn.Conv1d(self.CHANNELS, self.N_BINS + 1, 1)

    @property
    def reach(self) -> int:
        """Frames on each side that a prediction depends on."""
        return sum(layer.kernel_size[0] // 2 for layer in self.layers)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return bin logits (B, N_BINS, F) and voicing logits (B, F) for a normalised mel."""
        x = mel
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
        logits = self.head(x)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits[:, :-1], logits[:, -1]

    def decode(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return f0 in Hz and voicing in [0, 1], (B, F) each: the mean around the likeliest bin."""
        logits, voicing = self(mel)
        bins = torch.arange(self.N_BINS, device=mel.device)[None, :, None]
        near = (bins - logits.argmax(dim=1, keepdim=True)).abs() <= 4
        weights = logits.softmax(dim=1) * near
        mean_bin = (weights * bins).sum(dim=1) / weights.sum(dim=1)
        return self.LOWEST_HZ * 2 ** (mean_bin / self.BINS_PER_OCTAVE), voicing.sigmoid()

    def loss(self, mel: Tensor, pitch: Tensor) -> Tensor:
        """Return cross-entropy against a blurred bin where voiced, plus that of the voicing."""
        logits, voicing = self(mel)
        target = (pitch[:, 0] / self.LOWEST_HZ).log2() * self.BINS_PER_OCTAVE  # (B, F) in bins
        target = target.clamp(0, self.N_BINS - 1)
        bins = torch.arange(self.N_BINS, device=mel.device)[None, :, None]
        blurred = (-0.5 * (bins - target[:, None]) ** 2).exp()
        blurred = (blurred / blurred.sum(dim=1, keepdim=True)).float()
        voiced = (pitch[:, 1] > 0.5).float()
        entropy = -(blurred * logits.log_softmax(dim=1)).sum(dim=1)
        pitch_loss = (entropy * voiced).sum() / voiced.sum().clamp(min=1.0)
        return pitch_loss + F.binary_cross_entropy_with_logits(voicing, voiced)


def _shift(x: Tensor) -> Tensor:
    """Return the value of the next frame, the last one repeated: (B, F) -> (B, F)."""
    return torch.cat([x[:, 1:], x[:, -1:]], dim=1)


def _interpolate(x: Tensor, factor: int) -> Tensor:
    """Interpolate linearly from frame centres to samples: (B, F) -> (B, F * factor)."""
    u = torch.arange(factor, device=x.device, dtype=x.dtype) / factor
    return torch.lerp(x[..., None], _shift(x)[..., None], u).flatten(1)
