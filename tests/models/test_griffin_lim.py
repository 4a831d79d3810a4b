import numpy as np
import pytest
import torch

from fwn_vocoder import load_vocoder
from fwn_vocoder.errors import ConfigError
from fwn_vocoder.mel import extract_mel, resolve_mel_spec
from tests.conftest import tone


@pytest.mark.parametrize("preset", ["tacotron2", "espnet2", "flowavenet2019"])
def test_the_mel_of_the_result_is_the_mel_given(preset):
    spec = resolve_mel_spec(preset)
    wav = tone(0.5)
    if spec.peak:
        wav = wav * (spec.peak / np.abs(wav).max())
    mel = extract_mel(wav, spec)[: len(wav) // 256]
    made = load_vocoder("griffin_lim", mel=preset, n_iter=30).vocode(mel)
    assert len(made) == len(mel) * 256
    again = spec.to_log_magnitude(extract_mel(made, spec)[: len(mel)])
    strong = spec.to_log_magnitude(mel) > -1
    assert np.abs(again - spec.to_log_magnitude(mel))[strong].mean() < 0.5


def test_reproducible():
    vocoder = load_vocoder("griffin_lim", n_iter=2)
    mel = extract_mel(tone(0.2), vocoder.mel_spec)
    assert (vocoder.vocode(mel, seed=3) == vocoder.vocode(mel, seed=3)).all()
    assert (vocoder.vocode(mel, seed=3) != vocoder.vocode(mel, seed=4)).any()


def test_it_has_no_temperature():
    vocoder = load_vocoder("griffin_lim")
    with pytest.raises(ConfigError, match="no latent and no temperature"):
        vocoder.synthesize(torch.zeros(1, 80, 2), temperature=0.5)


def test_it_needs_a_centred_mel():
    with pytest.raises(ConfigError, match="padding: center"):
        load_vocoder("griffin_lim", mel="hifigan")
