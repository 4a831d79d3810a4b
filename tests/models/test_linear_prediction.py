import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from fwn_vocoder.mel import MelSpec, extract_mel
from fwn_vocoder.models.linear_prediction import Filters, LinearPrediction, colour, whiten

SPEC = MelSpec()


def resonance(n_samples, seed=0):
    """Noise through two resonances, at 700 and 2500 Hz."""
    wav = 0.01 * np.random.default_rng(seed).standard_normal(n_samples)
    for frequency in (700, 2500):
        pole = 0.97 * np.exp(2j * np.pi * frequency / 22050)
        wav = lfilter([1.0], np.poly([pole, pole.conj()]).real, wav)
    return wav


def filters_of(wav, order=16, spec=SPEC):
    n_frames = len(wav) // spec.hop_length
    mel = torch.from_numpy(extract_mel(wav, spec)[:n_frames].T[None])
    with torch.no_grad():
        return LinearPrediction(spec, order, -5.0, 2.0)(mel)


def test_residual_is_white_and_of_about_unit_power():
    wav = resonance(22016)
    residual, logdet = whiten(torch.from_numpy(wav)[None, None], filters_of(wav))
    power = np.abs(np.fft.rfft(residual[0, 0].numpy())) ** 2 / residual.shape[2]
    # The mel ends at 8000 Hz.
    bands = 10 * np.log10(
        power[: round(len(power) * 7500 / 11025)][: 15 * 490].reshape(15, -1).mean(1)
    )
    assert np.ptp(bands) < 3.0
    before = 10 * np.log10((np.abs(np.fft.rfft(wav)) ** 2)[: 15 * 490].reshape(15, -1).mean(1))
    assert np.ptp(before) > 20.0
    assert 0.5 < residual.var() < 2.0
    assert logdet > 0


@pytest.mark.parametrize("hop_length", [256, 270, 275])
def test_colour_undoes_whiten(hop_length):
    spec = MelSpec(hop_length=hop_length)
    n_samples = 40 * hop_length
    wav = np.stack([resonance(n_samples, seed) for seed in (0, 1)])
    parts = [filters_of(row, order=20, spec=spec) for row in wav]
    filters = Filters(*(torch.cat(rows) for rows in zip(*parts, strict=True)))
    x = torch.from_numpy(wav)[:, None]
    residual, _ = whiten(x, filters)
    torch.testing.assert_close(colour(residual, filters), x, atol=1e-12, rtol=0)


def test_determinant_is_that_of_the_jacobian():
    wav = resonance(1024)
    filters = filters_of(wav, order=4)
    x = torch.from_numpy(wav[:256])
    filters = Filters(filters.coefficients[:, :2], filters.log_gain[:, :256])
    jacobian = torch.autograd.functional.jacobian(
        lambda v: whiten(v[None, None], filters)[0].flatten(), x
    )
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(whiten(x[None, None], filters)[1][0], expected)


def test_digital_silence_stays_within_bounds():
    filters = filters_of(np.zeros(8192))
    dither = torch.empty(1, 1, 8192, dtype=torch.float64).uniform_(-0.5, 0.5) / 2**15
    residual, _ = whiten(dither, filters)
    assert residual.abs().max() < 10
    assert math.isfinite(filters.log_gain.sum())


def test_correction_is_learned_by_likelihood():
    """Above the mel's upper edge only the learned correction can flatten the residual."""
    spec = MelSpec(fmax=4000.0)
    wav = resonance(65536)
    x = torch.from_numpy(wav)[None, None]
    mel = torch.from_numpy(extract_mel(wav, spec)[: len(wav) // 256].T[None])
    prediction = LinearPrediction(spec, 16, -5.0, 2.0)
    optimizer = torch.optim.Adam(prediction.parameters(), 3e-4)

    def loss():
        residual, logdet = whiten(x, prediction(mel))
        return 0.5 * residual.square().mean() - logdet[0] / x.shape[2]

    before = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    assert value.item() < before - 0.02
