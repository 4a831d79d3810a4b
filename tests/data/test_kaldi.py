from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwn_vocoder.data.kaldi import (
    Utterance,
    parse_job,
    read_data_dir,
    read_table,
    shard,
    write_data_dir,
)
from fwn_vocoder.errors import ConfigError, DataError


def write(directory, **files):
    for name, content in files.items():
        (directory / name.replace("_scp", ".scp")).write_text(content)
    return directory


def test_write_and_read(tmp_path):
    utterances = [
        Utterance("b", Path("/x/b.wav"), text="two words", speaker="s1"),
        Utterance("a", Path("/x/a b.wav"), text="one", speaker="s2"),
    ]
    write_data_dir(tmp_path, utterances)
    assert read_data_dir(tmp_path) == sorted(utterances, key=lambda u: u.utt_id)
    assert read_table(tmp_path / "spk2utt") == {"s1": "b", "s2": "a"}


def test_segments(tmp_path):
    write(tmp_path, wav_scp="rec /x/rec.wav\n", segments="u1 rec 0.5 1.25\nu2 rec 2 3\n")
    first, second = read_data_dir(tmp_path)
    assert first == Utterance("u1", Path("/x/rec.wav"), 0.5, 1.25)
    assert second.end_s == 3.0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"wav\.scp: cannot read"),
        ({"wav_scp": "a /x\nbroken\n"}, r"wav\.scp:2: expected '<utt_id> <path>', found 'broken'"),
        ({"wav_scp": "a /x\na /y\n"}, r"wav\.scp:2: 'a' occurs a second time"),
        ({"wav_scp": "a sph2pipe x.sph |\n"}, "is a command; only paths are allowed"),
        ({"wav_scp": "../../etc /x\n"}, r"wav\.scp:1: utterance id '\.\./\.\./etc' is not allowed"),
        ({"wav_scp": ".hidden /x\n"}, "is not allowed"),
        ({"wav_scp": "\n"}, "lists no utterance"),
        ({"wav_scp": "a /x\n", "text": "b hello\n"}, r"text: .*1 missing \['a'\], 1 unknown"),
        ({"wav_scp": "r /x\n", "segments": "u r 2 1\n"}, "0 <= start < end in seconds"),
        ({"wav_scp": "r /x\n", "segments": "u r 0\n"}, "expected '<utt_id> <recording>"),
        ({"wav_scp": "r /x\n", "segments": "u r 0 inf\n"}, "expected '<utt_id> <recording>"),
        ({"wav_scp": "r /x\n", "segments": "u q 0 1\n"}, "recording 'q' is not in wav.scp"),
    ],
)
def test_bad_directories(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        read_data_dir(write(tmp_path, **files))


@given(st.text())
def test_any_table_is_read_or_refused_cleanly(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("table") / "wav.scp"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        table = read_table(path)
    except DataError:
        return
    assert all(key and value and "/" not in key for key, value in table.items())


@given(st.integers(0, 50), st.integers(1, 9))
def test_shards_are_a_partition(n_items, count):
    items = list(range(n_items))
    parts = [shard(items, (k, count)) for k in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == items


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_bad_jobs(text):
    with pytest.raises(ConfigError, match="expected K/N"):
        parse_job(text)


@pytest.mark.parametrize("value", ["", "two\nlines"])
def test_values_that_would_break_a_table(tmp_path, value):
    with pytest.raises(DataError, match="cannot write the value"):
        write_data_dir(tmp_path, [Utterance("a", Path("/x"), text="ok", speaker=value or " ")])
