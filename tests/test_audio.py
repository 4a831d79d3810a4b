import numpy as np
import pytest
import soundfile

from fwn_vocoder import audio
from fwn_vocoder.audio import read_wav, write_wav
from fwn_vocoder.errors import DataError
from tests.conftest import tone


def test_write_and_read(tmp_path):
    for suffix in ("wav", "flac"):
        path = tmp_path / f"x.{suffix}"
        write_wav(path, tone(), 22050)
        wav, rate = read_wav(path)
        assert rate == 22050
        assert wav.dtype == np.float32
        np.testing.assert_allclose(wav, tone(), atol=1 / 32768)


def test_segments(tmp_path):
    write_wav(tmp_path / "x.wav", tone(1.0), 22050)
    wav, _ = read_wav(tmp_path / "x.wav", start_s=0.25, end_s=0.75)
    np.testing.assert_allclose(wav, tone(1.0)[5512:16538], atol=1 / 32768)


def test_segment_outside(tmp_path):
    write_wav(tmp_path / "x.wav", tone(1.0), 22050)
    with pytest.raises(DataError, match=r"segment 0.5..2.0 s does not lie inside its 1.000 s"):
        read_wav(tmp_path / "x.wav", start_s=0.5, end_s=2.0)


def test_resampling_is_announced(tmp_path, caplog):
    caplog.set_level("INFO")
    write_wav(tmp_path / "x.wav", tone(1.0, sample_rate=16000), 16000)
    wav, rate = read_wav(tmp_path / "x.wav", 22050)
    assert (rate, len(wav)) == (22050, 22050)
    assert "resampled from 16000 to 22050 Hz" in caplog.text


def test_stereo_is_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((100, 2)), 22050)
    with pytest.raises(DataError, match="has 2 channels; one is needed"):
        read_wav(tmp_path / "x.wav")


def test_truncated_file(tmp_path):
    path = tmp_path / "x.wav"
    write_wav(path, tone(), 22050)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="cut short"):
        read_wav(path)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"RIFF\x00\x00\x00\x00WAVE"])
def test_garbage(tmp_path, content):
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.wav: (cannot read audio|is cut short|contains no)"):
        read_wav(tmp_path / "x.wav")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot read audio"):
        read_wav(tmp_path / "none.wav")


def test_empty_file(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(0), 22050)
    with pytest.raises(DataError, match="contains no samples"):
        read_wav(tmp_path / "x.wav")


def test_long_files_are_refused_by_their_header(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "MAX_DURATION_S", 0.5)
    write_wav(tmp_path / "x.flac", tone(1.0), 22050)
    with pytest.raises(DataError, match="lasts 1 s, the limit is 0 s"):
        read_wav(tmp_path / "x.flac")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_is_not_written(tmp_path, value):
    with pytest.raises(DataError, match="refusing to write NaN or infinite"):
        write_wav(tmp_path / "x.wav", np.array([0.0, value]), 22050)
    assert not list(tmp_path.iterdir())


def test_clipping_is_counted(tmp_path, caplog):
    write_wav(tmp_path / "x.wav", np.array([0.5, 1.5, -2.0]), 22050)
    assert "limited 2 of 3 samples" in caplog.text
    wav, _ = read_wav(tmp_path / "x.wav")
    np.testing.assert_allclose(wav, [0.5, 1.0, -1.0], atol=1e-4)


def test_unknown_format(tmp_path):
    with pytest.raises(DataError, match="cannot write audio"):
        write_wav(tmp_path / "x.xyz", tone(), 22050)
    assert not list(tmp_path.iterdir())


def test_nothing_to_write(tmp_path):
    with pytest.raises(DataError, match=r"given \(0,\)"):
        write_wav(tmp_path / "x.wav", np.zeros(0), 22050)
