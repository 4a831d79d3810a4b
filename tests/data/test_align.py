import numpy as np
import pytest

from fwn_vocoder.audio import read_wav
from fwn_vocoder.data.align import Aligner
from fwn_vocoder.data.ljspeech import read_ljspeech
from fwn_vocoder.errors import DataError
from fwn_vocoder.mel import PRESETS, extract_mel
from fwn_vocoder.text.phones import phonemize
from tests.conftest import LJSPEECH

SPEC = PRESETS["espnet2"]


@pytest.mark.skipif(not LJSPEECH.exists(), reason=f"no recordings at {LJSPEECH}")
def test_real_speech():
    utterance = read_ljspeech(LJSPEECH)[1]
    assert utterance.text == "in being comparatively modern."
    wav, rate = read_wav(utterance.wav_path)
    mel = extract_mel(wav, SPEC)[: len(wav) // 256]
    text = phonemize(utterance.text)
    durations = Aligner(text.words).durations(wav, rate, text, SPEC, mel)
    assert sum(durations) == len(mel)
    assert len(durations) == len(text.tokens())
    assert min(durations) >= 0
    phones = dict(zip(text.tokens(), durations, strict=True))
    assert phones["m"] >= 2
    # The vowel of "modern" is louder than the pause after it.
    position = sum(durations[: text.tokens().index("ˈɑ")])
    assert mel[position + 1].mean() > mel[-2].mean()


def test_noise_does_not_fit_a_text():
    text = phonemize("one two three four five six seven eight nine ten")
    wav = np.zeros(2000)
    with pytest.raises(DataError, match="aligner|fit the text"):
        Aligner(text.words).durations(wav, 22050, text, SPEC, np.zeros((7, 80)))
