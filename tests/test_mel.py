import numpy as np
import pytest

from fwn_vocoder.errors import ConfigError, DataError, MelMismatchError
from fwn_vocoder.mel import (
    PRESETS,
    MelSpec,
    check_mel,
    extract_mel,
    plan_conversion,
    resolve_mel_spec,
)
from tests.conftest import GOLDEN, tone

GOLDEN_DEFINITIONS = {
    "nvidia_tacotron2": "tacotron2",
    "espnet2_fmin80_fmax7600": "espnet2",
    "espnet2_fmin0_fmax8000": {"preset": "espnet2", "fmin": 0.0, "fmax": 8000.0},
    "hifigan_v1": "hifigan",
    "flowavenet_reference": "flowavenet2019",
}


@pytest.mark.parametrize("name", GOLDEN_DEFINITIONS)
def test_extraction_equals_the_other_implementation(name):
    golden = np.load(GOLDEN / "mel_definitions.npz")
    mel = extract_mel(golden["wav"], resolve_mel_spec(GOLDEN_DEFINITIONS[name]))
    expected = golden[name]
    assert mel.shape == expected.shape
    assert mel.dtype == np.float32
    # Near the floor (100 dB below the signal) the logarithm amplifies the float32 rounding of the
    # other implementations' STFT; ESPnet's floor lies lowest.
    margin = {"hifigan_v1": 0.5, "flowavenet_reference": 0.0}.get(name, 1.5)
    above_floor = expected > expected.min() + margin
    assert np.abs(mel - expected)[above_floor].max() < 1e-4
    assert np.abs(mel - expected).max() < 1e-3


def test_espnet2_converts_to_tacotron2_of_the_same_band():
    golden = np.load(GOLDEN / "mel_definitions.npz")
    src = resolve_mel_spec(GOLDEN_DEFINITIONS["espnet2_fmin0_fmax8000"])
    converted = plan_conversion(src, PRESETS["tacotron2"])(golden["espnet2_fmin0_fmax8000"])
    assert np.abs(converted - golden["nvidia_tacotron2"]).max() < 0.0025


@pytest.mark.parametrize(
    "change",
    [
        {"log_base": "2"},
        {"log_base": "10"},
        {"scale": 0.25, "shift": 3.0},
        {"floor": 1e-3},
        {"floor": 1e-3, "scale": 0.1, "shift": 1.0, "clip": (0.4, 2.0)},
        {"mean": (0.5,) * 80, "std": (2.0,) * 80},
    ],
)
def test_conversion_equals_extraction_by_the_target(change):
    src = MelSpec()
    dst = resolve_mel_spec({"preset": "tacotron2", **change})
    converted = plan_conversion(src, dst)(extract_mel(tone(), src))
    np.testing.assert_allclose(converted, extract_mel(tone(), dst), atol=1e-5)


def test_conversion_there_and_back_is_exact():
    src = MelSpec()
    dst = resolve_mel_spec({"preset": "tacotron2", "log_base": "10", "scale": 2.0, "shift": 1.0})
    mel = extract_mel(tone(), src)
    back = plan_conversion(dst, src)(plan_conversion(src, dst)(mel))
    np.testing.assert_allclose(back, mel, atol=1e-5)


def test_same_definition_is_the_identity():
    mel = extract_mel(tone(), MelSpec())
    conversion = plan_conversion(MelSpec(), MelSpec())
    assert conversion.is_identity
    np.testing.assert_array_equal(conversion(mel), mel)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate", 24000),
        ("n_fft", 2048),
        ("hop_length", 300),
        ("win_length", 800),
        ("window", "hamming"),
        ("padding", "same"),
        ("pad_mode", "constant"),
        ("n_mels", 100),
        ("fmin", 80.0),
        ("fmax", 7600.0),
        ("mel_scale", "htk"),
        ("mel_norm", None),
        ("power", 2),
        ("peak", 0.9),
    ],
)
def test_another_analysis_is_refused_by_name(field, value):
    other = resolve_mel_spec({"preset": "tacotron2", field: value})
    with pytest.raises(MelMismatchError, match=rf"{field}: .* given, .* needed"):
        plan_conversion(other, MelSpec())


def test_every_difference_is_named():
    with pytest.raises(MelMismatchError) as caught:
        plan_conversion(PRESETS["espnet2"], PRESETS["tacotron2"])
    assert "fmin: 80.0 given, 0.0 needed" in str(caught.value)
    assert "fmax: 7600.0 given, 8000.0 needed" in str(caught.value)


def test_a_higher_floor_cannot_be_undone():
    coarse = resolve_mel_spec({"preset": "tacotron2", "floor": 1e-3})
    with pytest.raises(MelMismatchError, match="floor: energies below 0.001 are already lost"):
        plan_conversion(coarse, MelSpec())


def test_clipping_from_above_cannot_be_undone():
    clipped = resolve_mel_spec({"preset": "tacotron2", "clip": (-20.0, 0.0)})
    with pytest.raises(MelMismatchError, match="clip: energies above 1"):
        plan_conversion(clipped, MelSpec())


def test_frames():
    for n_samples in (256 * 10, 256 * 10 + 255):
        assert len(extract_mel(tone()[:n_samples], MelSpec())) == 11
        assert len(extract_mel(tone()[:n_samples], PRESETS["hifigan"])) == 10


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (np.zeros((2, 4000)), "one channel"),
        (np.full(4000, np.nan), "NaN"),
        (np.zeros(100), "100 samples; at least 513"),
    ],
)
def test_bad_waveforms(wav, message):
    with pytest.raises(DataError, match=message):
        extract_mel(wav, MelSpec())


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (np.zeros((5, 100)), r"\(5, 100\).*takes \(frames, 80\).*n_mels=80"),
        (np.zeros((80, 5)), "looks transposed"),
        (np.zeros((0, 80)), "no frames"),
        (np.full((2, 80), np.inf), "NaN or infinite"),
        (np.array([["x"]]), "expected numbers"),
    ],
)
def test_bad_mels(mel, message):
    with pytest.raises(DataError, match=message):
        check_mel(mel, MelSpec())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fmax": 12000.0}, "above half of sample_rate"),
        ({"fmin": 8000.0}, "not below fmax"),
        ({"win_length": 2048}, "longer than n_fft"),
        ({"scale": 0.0}, "scale is 0"),
        ({"mean": (0.0,) * 80}, "both or neither"),
        ({"mean": (0.0,), "std": (1.0,)}, "has 1 values, n_mels is 80"),
        ({"mean": (0.0,) * 80, "std": (0.0,) * 80}, "std must be positive"),
        ({"n_mel": 80}, "did you mean 'n_mels'"),
        ({"preset": "tacotron"}, "available: tacotron2, espnet2"),
    ],
)
def test_bad_definitions(change, message):
    with pytest.raises(ConfigError, match=message):
        resolve_mel_spec(change)
