import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from fwn_vocoder.data.pitch import extract_pitch
from fwn_vocoder.data.pulses import pulse_phase
from fwn_vocoder.mel import PRESETS, extract_mel
from fwn_vocoder.models.excitation import HarmonicExcitation, PitchPredictor
from tests.conftest import tone

SPEC = PRESETS["espnet2"]


def constant_pitch(f0, n_frames, voiced=1.0):
    phase = (f0 * np.arange(n_frames) * SPEC.hop_length / SPEC.sample_rate) % 1.0
    rows = np.stack([np.full(n_frames, f0), np.full(n_frames, voiced), phase])
    return torch.from_numpy(rows[None])


def test_phase_of_a_constant_tone_is_exact():
    excitation = HarmonicExcitation(SPEC, 0.0, 1.0)
    mel = torch.full((1, 80, 20), -2.0, dtype=torch.float64)
    rows = excitation(mel, constant_pitch(173.0, 20))
    t = torch.arange(20 * 256, dtype=torch.float64) / SPEC.sample_rate
    angle = 2 * math.pi * 173.0 * t
    torch.testing.assert_close(rows[0, 0], angle.sin(), atol=1e-9, rtol=0)
    torch.testing.assert_close(rows[0, 1], angle.cos(), atol=1e-9, rtol=0)


def test_unvoiced_frames_have_no_excitation():
    excitation = HarmonicExcitation(SPEC, 0.0, 1.0)
    rows = excitation(torch.zeros(1, 80, 5), constant_pitch(173.0, 5, voiced=0.0))
    assert rows.abs().max() == 0


def test_harmonics_follow_the_envelope():
    """The excitation made from a tone's mel has nearly the tone's own spectrum."""
    wav = tone(1.0, 200.0)
    n_frames = len(wav) // 256
    mel = torch.from_numpy(extract_mel(wav, SPEC)[:n_frames].T[None])
    pitch = torch.from_numpy(extract_pitch(wav, SPEC)[None])
    excitation = HarmonicExcitation(SPEC, 0.0, 1.0)
    made = excitation(mel, pitch)[0, 2].numpy() / HarmonicExcitation.GAIN
    difference = extract_mel(made, SPEC)[5:-5] - extract_mel(wav[: len(made)], SPEC)[5:-5]
    strong = extract_mel(wav[: len(made)], SPEC)[5:-5] > -1.0
    assert np.abs(difference[strong]).mean() < 0.3  # log10 units: 6 dB


def test_measured_pitch_of_a_tone():
    wav = tone(1.0, 200.0)
    f0, voiced, _ = extract_pitch(wav, SPEC)
    t = np.arange(len(f0)) * 256 / 22050
    expected = 200 * (1 + 0.1 * np.sin(2 * np.pi * t))
    middle = slice(5, -5)
    assert voiced[middle].all()
    assert np.abs(1200 * np.log2(f0 / expected))[middle].max() < 20  # cents


@pytest.mark.parametrize("sign", [1, -1])
def test_phase_is_zero_at_the_pulses(sign):
    """Pulses through a resonance are found where they were put, whichever way they point."""
    t = np.arange(22050) / 22050
    cycles = 150 * t + 5 * np.sin(2 * np.pi * t)  # 150 Hz and slowly changing
    pulses = sign * np.diff(np.floor(cycles), prepend=0.0)
    pole = 0.96 * np.exp(2j * np.pi * 800 / 22050)
    wav = 0.1 * lfilter([1.0], np.poly([pole, pole.conj()]).real, pulses)
    frames = np.arange(len(t) // 256) * 256
    f0 = np.gradient(cycles, t)[frames]
    phase = pulse_phase(wav, f0, np.ones(len(f0), bool), SPEC)
    error = phase - cycles[frames]
    error -= np.round(error)
    assert np.abs(error[5:-5]).max() < 0.03  # cycles


def test_pulses_are_equal_harmonics():
    excitation = HarmonicExcitation(SPEC, 0.0, 1.0, whitened=True)
    rows = excitation(torch.zeros(1, 80, 20, dtype=torch.float64), constant_pitch(210.0, 20))
    spectrum = np.abs(np.fft.rfft(rows[0, 2].numpy()[: 105 * 42])) / (105 * 42 / 2)
    harmonics = spectrum[42::42][: int(SPEC.fmax / 210)]
    np.testing.assert_allclose(harmonics, math.sqrt(2 * 210.0 / SPEC.fmax), rtol=1e-3)
    assert rows[0, 2].square().mean().item() == pytest.approx(1.0, rel=0.05)


def test_silence_has_no_pitch():
    _, voiced, _ = extract_pitch(np.zeros(22050), SPEC)
    assert not voiced.any()


def test_predictor_learns_pitch_and_voicing():
    torch.manual_seed(0)
    predictor = PitchPredictor(80)
    waves = [tone(0.5, f0, seed=i) for i, f0 in enumerate((110, 150, 210, 290))]
    n_frames = len(waves[0]) // 256
    mel = torch.stack([torch.from_numpy(extract_mel(w, SPEC)[:n_frames].T) for w in waves])
    pitch = torch.stack([torch.from_numpy(extract_pitch(w, SPEC)) for w in waves])
    optimizer = torch.optim.Adam(predictor.parameters(), 2e-3)
    for _ in range(60):
        loss = predictor.loss((mel + 2) / 2, pitch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    f0, voicing = predictor.decode((mel + 2) / 2)
    cents = 1200 * (f0 / pitch[:, 0]).log2().abs()
    assert cents.median() < 25
    assert voicing.mean() > 0.9


def test_predicted_phase_is_the_integral_of_the_predicted_frequency():
    torch.manual_seed(0)
    excitation = HarmonicExcitation(SPEC, 0.0, 1.0)
    f0, _, phase = excitation.predict(torch.randn(1, 80, 30))[0]
    steps = (f0[1:] + f0[:-1]) / 2 * 256 / 22050
    error = phase[1:] - steps.cumsum(0)
    assert (error - error.round()).abs().max() < 1e-9
    assert phase[0] == 0


@pytest.mark.parametrize("n_frames", [1, 2])
def test_few_frames(n_frames):
    rows = HarmonicExcitation(SPEC, 0.0, 1.0)(torch.zeros(1, 80, n_frames))
    assert rows.shape == (1, 3, 256 * n_frames)
    assert torch.isfinite(rows).all()
