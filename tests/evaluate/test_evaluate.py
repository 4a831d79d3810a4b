import json

import numpy as np
import pytest

from fwn_vocoder.audio import write_wav
from fwn_vocoder.data.dump import PCM_SCALE, Dump
from fwn_vocoder.errors import ConfigError, DataError
from fwn_vocoder.evaluate.measures import log_mel_distance, multi_resolution_stft_distance
from fwn_vocoder.evaluate.report import evaluate, parse_systems
from fwn_vocoder.mel import PRESETS
from tests.conftest import tone

SPEC = PRESETS["espnet2"]


def test_identical_signals_have_no_distance():
    assert log_mel_distance(tone(), tone(), SPEC) == 0
    assert multi_resolution_stft_distance(tone(), tone()) == 0


def test_half_the_amplitude():
    """Every magnitude is halved: ln 2 for logarithms, 1/2 for spectral convergence."""
    loud = np.random.default_rng(0).standard_normal(22050) * 0.3
    assert log_mel_distance(loud, loud / 2, SPEC) == pytest.approx(np.log(2), abs=1e-3)
    expected = 0.5 + np.log(2)
    assert multi_resolution_stft_distance(loud, loud / 2) == pytest.approx(expected, abs=1e-2)


def test_the_longer_signal_is_cut():
    wav = tone(1.0)
    assert log_mel_distance(wav, wav[:20000], SPEC) < 0.05
    with pytest.raises(DataError, match="empty"):
        log_mel_distance(wav, wav[:0], SPEC)


def copy_recordings(dump, directory, gain=1.0):
    for utt_id in dump.utt_ids:
        wav = gain * np.array(dump.wav(utt_id)) / PCM_SCALE
        write_wav(directory / f"{utt_id}.wav", wav, 22050)


def test_report(dump_dir, tmp_path, tiny_checkpoint):
    dump = Dump.open(dump_dir)
    copy_recordings(dump, tmp_path / "same")
    copy_recordings(dump, tmp_path / "half", 0.5)
    systems = parse_systems([f"same={tmp_path / 'same'}", f"half={tmp_path / 'half'}"])
    path = evaluate(dump_dir, systems, tmp_path / "out", tiny_checkpoint)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["systems"]["same"]["log_mel_distance"] < 1e-3
    assert results["systems"]["half"]["log_mel_distance"] > 0.3
    assert np.isfinite(results["likelihood"]["nll_nats_per_sample"])
    assert "| half | " in path.read_text()
    assert "bits per sample" in path.read_text()


def test_missing_utterances_are_an_error(dump_dir, tmp_path):
    with pytest.raises(DataError, match="system 'x' lacks 3 of 3 utterances"):
        evaluate(dump_dir, {"x": tmp_path}, tmp_path / "out")


def test_system_arguments():
    with pytest.raises(ConfigError, match="expected NAME=DIRECTORY"):
        parse_systems(["x"])
