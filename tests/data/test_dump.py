import numpy as np
import pytest

from fwn_vocoder.data.dump import Dump, extract_dump
from fwn_vocoder.data.segments import SegmentSampler
from fwn_vocoder.errors import DataError, MelMismatchError, PartialFailure
from fwn_vocoder.mel import PRESETS, extract_mel, resolve_mel_spec

SPEC = PRESETS["espnet2"]


def sampler(dump_dir, **changes):
    settings = {
        "segment_frames": 16,
        "batch_size": 4,
        "min_rms": 1e-3,
        "with_pitch": True,
        "seed": 0,
    }
    return SegmentSampler(Dump.open(dump_dir), **{**settings, **changes})


def test_waveform_mel_and_pitch_are_aligned(dump_dir):
    dump = Dump.open(dump_dir, SPEC)
    assert dump.utt_ids == ["utt0", "utt1", "utt2"]
    for utt_id in dump.utt_ids:
        wav, mel, pitch = dump.wav(utt_id), dump.mel(utt_id), dump.pitch(utt_id)
        assert len(wav) == len(mel) * 256
        assert pitch.shape == (3, len(mel))
        again = extract_mel(np.array(wav) / 32768.0, SPEC)[: len(mel)]
        np.testing.assert_allclose(again[:-3], mel[:-3], atol=1e-3)


def test_shards_together_equal_one_job(data_dir, dump_dir, tmp_path):
    for k in (1, 2):
        extract_dump(data_dir, tmp_path, SPEC, with_pitch=True, job=(k, 2))
    whole, parts = Dump.open(dump_dir), Dump.open(tmp_path)
    assert whole.utt_ids == parts.utt_ids
    for utt_id in whole.utt_ids:
        np.testing.assert_array_equal(whole.mel(utt_id), parts.mel(utt_id))


def test_restart_does_only_what_is_missing(data_dir, tmp_path):
    assert extract_dump(data_dir, tmp_path, SPEC, with_pitch=False) == 3
    (tmp_path / "mel" / "utt1.npy").unlink()
    assert extract_dump(data_dir, tmp_path, SPEC, with_pitch=False) == 1
    assert extract_dump(data_dir, tmp_path, SPEC, with_pitch=True) == 3


def test_another_definition_needs_another_directory(data_dir, dump_dir):
    with pytest.raises(MelMismatchError, match="fmax: 7600.0 given, 8000.0 needed"):
        extract_dump(data_dir, dump_dir, PRESETS["tacotron2"], with_pitch=False)
    scaled = resolve_mel_spec({"preset": "espnet2", "scale": 2.0})
    with pytest.raises(DataError, match="use another directory"):
        extract_dump(data_dir, dump_dir, scaled, with_pitch=False)


def test_failures_are_named_and_the_others_complete(data_dir, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    lines = (data_dir / "wav.scp").read_text() + f"utt9 {tmp_path / 'bad.wav'}\n"
    (source / "wav.scp").write_text(lines)
    with pytest.raises(PartialFailure, match=r"1 utterances could not.*\n  utt9: .*bad\.wav"):
        extract_dump(source, tmp_path / "dump", SPEC, with_pitch=False)
    assert Dump.open(tmp_path / "dump").utt_ids == ["utt0", "utt1", "utt2"]


def test_strangers_are_reported(data_dir, tmp_path, caplog):
    extract_dump(data_dir, tmp_path, SPEC, with_pitch=False)
    np.save(tmp_path / "mel" / "other.npy", np.zeros((2, 80), np.float32))
    extract_dump(data_dir, tmp_path, SPEC, with_pitch=False)
    assert "holds 1 utterances that the data directory does not list, such as other" in caplog.text


def test_not_a_dump(tmp_path):
    with pytest.raises(DataError, match="is not a dump"):
        Dump.open(tmp_path)


def test_empty_dump(data_dir, tmp_path):
    extract_dump(data_dir, tmp_path, SPEC, with_pitch=False)
    for path in (tmp_path / "mel").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="holds no utterance"):
        Dump.open(tmp_path)


def test_pickled_arrays_are_refused(dump_dir, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    dump = Dump(tmp_path, SPEC, ["x"])
    (tmp_path / "mel").mkdir()
    (tmp_path / "x.npy").rename(tmp_path / "mel" / "x.npy")
    with pytest.raises(DataError, match=r"x\.npy: cannot read the array"):
        dump.mel("x")


def test_batches_depend_on_seed_step_and_rank_alone(dump_dir):
    first, second = sampler(dump_dir), sampler(dump_dir)
    assert (first.batch(5).wav == second.batch(5).wav).all()
    assert (first.batch(5).wav != first.batch(6).wav).any()
    assert (first.batch(5, rank=0).wav != first.batch(5, rank=1).wav).any()
    assert (first.batch(5).wav != sampler(dump_dir, seed=1).batch(5).wav).any()


def test_segments_are_cut_alike(dump_dir):
    batch = sampler(dump_dir).batch(0)
    assert batch.wav.shape == (4, 16 * 256)
    assert batch.mel.shape == (4, 80, 16)
    assert batch.pitch.shape == (4, 3, 16)
    for wav, mel in zip(batch.wav.numpy(), batch.mel.numpy(), strict=True):
        made = extract_mel(wav, SPEC)[3:13]
        assert np.abs(made - mel.T[3:13])[mel.T[3:13] > -2].max() < 0.2


def test_dither_makes_samples_continuous(dump_dir):
    steps = sampler(dump_dir).batch(0).wav * 32768
    offset = (steps - steps.round()).abs()
    assert offset.mean() > 0.2


def test_short_utterances_are_reported(dump_dir, caplog):
    used = sampler(dump_dir, segment_frames=80)
    assert "2 of 3 utterances are shorter than 80 frames" in caplog.text
    assert used.utt_ids == ["utt2"]


def test_too_long_segments(dump_dir):
    with pytest.raises(DataError, match="no utterance has 1000 frames; the longest has 94"):
        sampler(dump_dir, segment_frames=1000)


def test_silence_is_not_used(dump_dir):
    with pytest.raises(DataError, match="segments in a row were below min_rms=10"):
        sampler(dump_dir, min_rms=10.0).batch(0)
