"""Synthesizer with the bundled voice, as users meet it."""

import numpy as np
import pytest
import soundfile

from fwn_vocoder import Synthesizer, load_vocoder
from fwn_vocoder.config import read_yaml, write_yaml
from fwn_vocoder.errors import CheckpointError, ConfigError, MelMismatchError, TextError
from fwn_vocoder.voices import BUNDLED, available_voices, find_voice

SENTENCE = "Printing, in the only sense with which we are at present concerned."


@pytest.fixture(scope="module")
def synthesizer():
    return Synthesizer()


def test_it_speaks(synthesizer, tmp_path):
    audio = synthesizer(SENTENCE)
    assert 2.0 < audio.duration < 8.0
    assert audio.wav.dtype == np.float32
    assert len(audio.wav) == 256 * len(audio.mel)
    assert audio.mel.shape[1] == 80
    assert 0.01 < np.sqrt(np.mean(audio.wav**2)) < 0.5
    assert audio.rtf > 0
    audio.save(tmp_path / "x.wav")
    assert soundfile.info(tmp_path / "x.wav").frames == len(audio.wav)
    assert audio._repr_html_().startswith("<audio controls")
    assert type(synthesizer.vocoder).__name__ == "FloWaveNetSampler"


def test_griffin_lim_by_name():
    audio = Synthesizer(vocoder="griffin_lim")("Hello.")
    assert audio.duration > 0.2


def test_the_same_seed_gives_the_same_samples(synthesizer):
    first, again, other = (synthesizer("Hello.", seed=s).wav for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_temperature_reaches_the_vocoder(synthesizer):
    cold, warm = (synthesizer("Hello.", temperature=t).wav for t in (0.0, 0.5))
    assert np.abs(cold - warm).max() > 1e-3


def test_speed(synthesizer):
    slow, normal, fast = (
        synthesizer(SENTENCE, speed=speed).duration - 0.3 for speed in (0.7, 1.0, 1.6)
    )
    assert slow / normal == pytest.approx(1 / 0.7, rel=0.1)
    assert fast / normal == pytest.approx(1 / 1.6, rel=0.1)


@pytest.mark.parametrize("speed", [0.0, 0.4, 3.0, float("nan")])
def test_speeds_out_of_range(synthesizer, speed):
    with pytest.raises(ConfigError, match="it must be between 0.5 and 2.0"):
        synthesizer("Hello.", speed=speed)


def test_lists_in_lists_out(synthesizer):
    audios = synthesizer(["One.", "Two."])
    np.testing.assert_array_equal(audios[1].wav, synthesizer("Two.").wav)


def test_long_texts_are_spoken_whole(synthesizer):
    parts = list(synthesizer.stream("One is here. Two is there."))
    whole = synthesizer("One is here. Two is there.")
    assert len(parts) == 5  # two sentences, the pause between, the margins
    np.testing.assert_array_equal(np.concatenate([p.wav for p in parts]), whole.wav)
    alone = list(synthesizer.stream("One is here."))
    np.testing.assert_array_equal(parts[1].wav, alone[1].wav)
    assert not any(part.wav.any() for part in parts[::2])
    assert parts[2].duration == pytest.approx(0.25, abs=0.01)
    assert len(whole.wav) == 256 * len(whole.mel)


def test_what_cannot_be_spoken_is_a_warning(synthesizer, caplog):
    audio = synthesizer("Hello 日本.")
    assert audio.warnings == ("not spoken: '日本'",)
    assert "not spoken" in caplog.text


def test_marks_that_training_lacked_are_no_warning(synthesizer):
    assert synthesizer("Is it so?").warnings == ()


@pytest.mark.parametrize("text", ["", "...", "日本"])
def test_nothing_to_say(synthesizer, text):
    with pytest.raises(TextError):
        synthesizer(text)


def test_unknown_voice():
    with pytest.raises(CheckpointError, match=r"voice 'none' not found.*bundled voices: ljspeech"):
        Synthesizer("none")


def test_unknown_vocoder():
    with pytest.raises(ConfigError, match="'hifigan' is unknown; available: flowavenet"):
        Synthesizer(vocoder="hifigan")


def test_mismatched_vocoder():
    with pytest.raises(MelMismatchError, match="fmax: 7600.0 given, 8000.0 needed"):
        Synthesizer(vocoder=load_vocoder("griffin_lim", mel="tacotron2"))


def copy_voice(directory, **changes):
    config = {**read_yaml(BUNDLED / "ljspeech" / "voice.yaml"), **changes}
    write_yaml(directory / "voice.yaml", config)
    for path in (BUNDLED / "ljspeech").glob("*.safetensors"):
        (directory / path.name).symlink_to(path)
    return directory


def test_the_voices_configuration_selects_the_vocoder(tmp_path):
    voice = copy_voice(tmp_path, vocoder="griffin_lim", vocoder_conf={"n_iter": 2})
    synthesizer = Synthesizer(voice)
    assert type(synthesizer.vocoder).__name__ == "GriffinLim"
    assert synthesizer.vocoder.config.n_iter == 2
    assert synthesizer.vocoder.mel_spec == synthesizer.acoustic.mel_spec


def test_a_voice_without_weights_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="has no flowavenet weights"):
        Synthesizer(copy_voice(tmp_path, vocoder="flowavenet", vocoder_conf={}))


def test_a_voice_cut_short_says_so(tmp_path):
    voice = copy_voice(tmp_path)
    content = (voice / "vocoder.safetensors").read_bytes()
    (voice / "vocoder.safetensors").unlink()
    (voice / "vocoder.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=f"expected {len(content)} bytes, found"):
        Synthesizer(voice)


def test_unknown_keys_in_a_voice(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'vocoder'"):
        Synthesizer(copy_voice(tmp_path, vocodr="x"))


def test_a_directory_of_that_name_does_not_hide_a_bundled_voice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ljspeech").mkdir()
    assert find_voice("ljspeech")[0] == BUNDLED / "ljspeech"


def test_bundled_voices_are_small():
    assert "ljspeech" in available_voices()
    for name in available_voices():
        directory, _ = find_voice(name)
        assert sum(p.stat().st_size for p in directory.iterdir()) < 40e6
        assert "| memory |" in (directory / "README.md").read_text()
