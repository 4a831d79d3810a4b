"""Linear prediction: the mel's spectral envelope, taken out before the flow and put back after it.

An extension of the published model (``linear_prediction_order``). An all-pole filter that follows
the envelope of the mel (Atal and Hanauer 1971; Makhoul 1975) turns the waveform into a spectrally
flat residual of about unit variance, and the flow maps the residual to noise. The filter is
triangular with the gain on its diagonal, so it is a flow itself: exactly invertible, with a known
determinant. What the flow gets wrong is then shaped by the filter like speech instead of standing
out as white noise.

A step is half a hop (a whole one where it is odd); the filter's coefficients are constant in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fwn_vocoder.mel import MelSpec, mel_center_frequencies, mel_filterbank


class Filters(NamedTuple):
    """All-pole filters of S steps: ``x[t] = sum_k coefficients[k] x[t - k - 1] + gain u[t]``.

    Attributes:
        coefficients: (B, S, order) float64.
        log_gain: (B, T) float64, natural log; ``T / S`` samples are a step.
    """

    coefficients: Tensor
    log_gain: Tensor

    @property
    def step(self) -> int:
        """Samples in a step."""
        return self.log_gain.shape[1] // self.coefficients.shape[1]

    def frames(self, start: int, stop: int, hop_length: int) -> Filters:
        """Return the filters of some frames."""
        steps = slice(start * hop_length // self.step, stop * hop_length // self.step)
        samples = slice(start * hop_length, stop * hop_length)
        return Filters(self.coefficients[:, steps], self.log_gain[:, samples])


class LinearPrediction(nn.Module):
    """Filters from a mel, by a fixed interpolation of its envelope plus a learned correction."""

    N_POINTS = 257
    N_KNOTS = 40
    MAX_CORRECTION = 4.0
    """Nepers of magnitude (35 dB)."""
    WHITE_NOISE = 1e-7
    LAG_WINDOW_HZ = 40.0
    POWER_FLOOR = 2.0**-30 / 12
    """Rounding noise of 16-bit samples: no envelope lies below it."""

    def __init__(self, spec: MelSpec, order: int, mel_mean: float, mel_std: float) -> None:
        super().__init__()
        self.spec = spec
        self.order = order
        self.steps_per_frame = 2 if spec.hop_length % 2 == 0 else 1
        self.mel_mean = mel_mean
        self.mel_std = mel_std
        self.correction = nn.Conv1d(spec.n_mels, self.N_KNOTS, 3, padding=1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        # Not buffers: a change of the module's dtype must not round them.
        points = np.linspace(0, spec.sample_rate / 2, self.N_POINTS)
        knots = np.linspace(0, 1, self.N_KNOTS) ** 2 * spec.sample_rate / 2
        self.from_bands = _interpolation(mel_center_frequencies(spec), points)
        self.from_knots = _interpolation(knots, points)
        window = np.hanning(spec.win_length + 1)
        level = np.log(mel_filterbank(spec).sum(axis=1)) / spec.power
        self.level = torch.from_numpy(level + 0.5 * math.log((window**2).sum()))
        lags = np.arange(order + 1)
        cosines = np.cos(np.pi * np.outer(np.arange(self.N_POINTS), lags) / (self.N_POINTS - 1))
        cosines[1:-1] *= 2
        lag_window = np.exp(-0.5 * (2 * np.pi * self.LAG_WINDOW_HZ / spec.sample_rate * lags) ** 2)
        lag_window[0] += self.WHITE_NOISE
        self.to_autocorrelation = torch.from_numpy(cosines * lag_window / (2 * self.N_POINTS - 2))

    def forward(self, mel: Tensor) -> Filters:
        """Return the filters of a mel (B, n_mels, F)."""
        with torch.autocast(mel.device.type, enabled=False):
            correction = self.correction((mel - self.mel_mean) / self.mel_std)
            correction = self.MAX_CORRECTION * torch.tanh(correction / self.MAX_CORRECTION)
            bands = self.spec.to_log_magnitude(mel.transpose(1, 2).double())
            bands = bands - self.level.to(mel.device)
            envelope = bands @ self.from_bands.to(mel.device)
            envelope = envelope + correction.transpose(1, 2).double() @ self.from_knots.to(
                mel.device
            )  # (B, F, N_POINTS)
            return self._solve(self._at_steps(envelope))

    def _at_steps(self, envelope: Tensor) -> Tensor:
        """Interpolate from the frames' centres to the steps' centres: (B, F, N) -> (B, S, N)."""
        n = self.steps_per_frame
        following = torch.cat([envelope[:, 1:], envelope[:, -1:]], dim=1)
        u = (torch.arange(n, device=envelope.device, dtype=envelope.dtype) + 0.5) / n
        return torch.lerp(envelope[:, :, None], following[:, :, None], u[:, None]).flatten(1, 2)

    def _solve(self, envelope: Tensor) -> Filters:
        """Solve the normal equations of log-magnitude envelopes (B, S, N_POINTS)."""
        power = torch.exp(2.0 * envelope) + self.POWER_FLOOR
        r = power @ self.to_autocorrelation.to(envelope.device)  # (B, S, order + 1)
        lag = torch.arange(self.order, device=r.device)
        matrix = r[..., (lag[:, None] - lag).abs()]
        factor = torch.linalg.cholesky(matrix)
        right = r[..., 1:]
        coefficients = torch.cholesky_solve(right[..., None], factor)[..., 0]
        variance = r[..., 0] - (coefficients * right).sum(dim=-1)
        log_gain = 0.5 * variance.log()  # (B, S)
        previous = torch.cat([log_gain[:, :1], log_gain[:, :-1]], dim=1)
        following = torch.cat([log_gain[:, 1:], log_gain[:, -1:]], dim=1)
        step = self.spec.hop_length // self.steps_per_frame
        u = (torch.arange(step, device=r.device, dtype=r.dtype) + 0.5) / step - 0.5
        around = torch.where(u < 0, previous[..., None], following[..., None])
        return Filters(coefficients, torch.lerp(log_gain[..., None], around, u.abs()).flatten(1))


def whiten(wav: Tensor, filters: Filters) -> tuple[Tensor, Tensor]:
    """Return the residual (B, 1, T) of a waveform (B, 1, T) and the log-determinant (B,).

    What came before the first sample is taken as silence.
    """
    order = filters.coefficients.shape[2]
    x = F.pad(wav[:, 0].double(), (order, 0))
    windows = x.unfold(1, filters.step + order, filters.step)  # (B, S, order + step)
    taps = F.pad(-filters.coefficients.flip(2), (0, 1), value=1.0)
    residual = (windows.unfold(2, order + 1, 1) * taps[:, :, None]).sum(dim=3)
    residual = residual.flatten(1) * torch.exp(-filters.log_gain)
    return residual[:, None].to(wav.dtype), -filters.log_gain.sum(dim=1).to(wav.dtype)


def colour(residual: Tensor, filters: Filters, before: Tensor | None = None) -> Tensor:
    """Undo ``whiten``: return the waveform (B, 1, T).

    Args:
        before: (B, order) samples that came before the first one; None for silence.
    """
    from scipy.signal import lfilter

    source = (residual[:, 0].double() * torch.exp(filters.log_gain)).cpu().numpy()
    denominators = np.pad(-filters.coefficients.cpu().numpy(), ((0, 0), (0, 0), (1, 0)))
    denominators[..., 0] = 1.0
    wav = np.empty_like(source)
    order = denominators.shape[2] - 1
    histories = np.zeros((len(wav), order)) if before is None else before.double().cpu().numpy()
    for b in range(len(wav)):
        history = histories[b][::-1]
        for s, denominator in enumerate(denominators[b]):
            part = slice(s * filters.step, (s + 1) * filters.step)
            state = _filter_state(denominator, history)
            wav[b, part], _ = lfilter([1.0], denominator, source[b, part], zi=state)
            history = wav[b, part][::-1][:order]
    return torch.from_numpy(wav)[:, None].to(residual)


def _filter_state(denominator: np.ndarray, history: np.ndarray) -> np.ndarray:
    """Return lfilter's state (order,) for the last outputs, newest first."""
    order = len(history)
    rows = np.arange(order)[:, None] + 1 + np.arange(order)  # state[i] = -sum_j a[i+1+j] y[-1-j]
    return -np.pad(denominator, (0, order))[rows] @ history


def _interpolation(knots: np.ndarray, points: np.ndarray) -> Tensor:
    """Return the matrix (knots, points) of linear interpolation, held at the ends."""
    columns = [np.interp(points, knots, row) for row in np.eye(len(knots))]
    return torch.from_numpy(np.stack(columns))
