"""Preparation of ESPnet2 TTS training: tokens, durations, lists of files (recipe stage 5)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fwn_vocoder.audio import write_wav
from fwn_vocoder.data.align import Aligner
from fwn_vocoder.data.dump import PCM_SCALE, Dump
from fwn_vocoder.data.kaldi import Utterance, read_data_dir, write_table
from fwn_vocoder.errors import DataError, PartialFailure
from fwn_vocoder.espnet.config import mel_spec_of, read_tts_config
from fwn_vocoder.espnet.imports import import_espnet
from fwn_vocoder.files import atomic_write
from fwn_vocoder.mel import MelSpec, plan_conversion
from fwn_vocoder.text.phones import Phonemized, phonemize

log = logging.getLogger(__name__)


def prepare_tts(
    config_path: str | Path, data_dirs: dict[str, Path], dump_dirs: dict[str, Path], out_dir: Path
) -> dict[str, int]:
    """Write what ESPnet2 needs to train on data directories that have been extracted.

    ``out_dir/<set>/`` gets ``wav.scp``, ``text`` and, for the phone front end, ``durations``
    (frames of each token, the final <sos/eos> included); ``out_dir/tokens.txt`` the vocabulary of
    the first set. Utterances that cannot be aligned are left out, reported, and counted.

    Returns the number of utterances of each set.

    Raises:
        DataError: no transcripts, features missing, or of another mel definition.
        PartialFailure: more than one utterance in ten could not be aligned.
    """
    keys, espnet_config = read_tts_config(config_path)
    spec = mel_spec_of(espnet_config, str(config_path))
    counts = {}
    for name, data_dir in data_dirs.items():
        utterances = read_data_dir(data_dir)
        without = [utt.utt_id for utt in utterances if not utt.text]
        if without:
            raise DataError(f"{data_dir}: has no transcripts (no `text` file)")
        dump = Dump.open(dump_dirs[name])
        _check_same_analysis(dump, spec)
        missing = sorted({utt.utt_id for utt in utterances} - set(dump.utt_ids))
        if missing:
            raise DataError(f"{dump.directory}: lacks {len(missing)} utterances, {missing[:3]}")
        target = out_dir / name
        if keys.text_frontend == "phones":
            utterances = _align(utterances, dump, target)
        else:
            write_table(target / "text", {utt.utt_id: utt.text for utt in utterances})
        _export_audio(utterances, dump, target)
        counts[name] = len(utterances)
    first = next(iter(data_dirs))
    _write_tokens(out_dir / first / "text", out_dir / "tokens.txt", espnet_config)
    return counts


def _check_same_analysis(dump: Dump, spec: MelSpec) -> None:
    """Durations count frames, so the dump's frames must be those of the acoustic model."""
    try:
        plan_conversion(spec, dump.mel_spec)
    except DataError as error:
        raise type(error)(f"{dump.directory}: the acoustic model's mel differs: {error}") from error


def _align(utterances: list[Utterance], dump: Dump, target: Path) -> list[Utterance]:
    """Write tokens and durations of the utterances that can be aligned; return those."""
    texts: dict[str, Phonemized] = {utt.utt_id: phonemize(utt.text) for utt in utterances}
    aligner = Aligner(word for text in texts.values() for word in text.words)
    tokens, durations, failures = {}, {}, []
    for utt in tqdm(utterances, desc="align", unit="utt", disable=None):
        wav = np.array(dump.wav(utt.utt_id), dtype=np.float32) / PCM_SCALE
        mel = dump.mel(utt.utt_id)
        text = texts[utt.utt_id]
        try:
            if text.unspoken:
                raise DataError(f"cannot speak {', '.join(text.unspoken)}")
            frames = aligner.durations(wav, dump.mel_spec.sample_rate, text, dump.mel_spec, mel)
        except DataError as error:
            failures.append(f"{utt.utt_id}: {error}")
            continue
        tokens[utt.utt_id] = " ".join(text.tokens())
        # ESPnet's centred STFT has one frame more than ours: the final <sos/eos> takes it.
        durations[utt.utt_id] = " ".join(map(str, [*frames, 1]))
    if failures:
        report = f"{len(failures)} of {len(utterances)} utterances were left out:\n  "
        report += "\n  ".join(failures)
        if len(failures) * 10 > len(utterances):
            raise PartialFailure(f"{target}: {report}")
        log.warning("%s: %s", target, report)
    write_table(target / "text", tokens)
    write_table(target / "durations", durations)
    return [utt for utt in utterances if utt.utt_id in tokens]


def _export_audio(utterances: list[Utterance], dump: Dump, target: Path) -> None:
    """Write the extracted audio (resampled, cut into utterances) where ESPnet can read it."""
    paths = {}
    for utt in utterances:
        path = target / "wav" / f"{utt.utt_id}.wav"
        if not path.exists():
            wav = np.array(dump.wav(utt.utt_id), dtype=np.float32) / PCM_SCALE
            write_wav(path, wav, dump.mel_spec.sample_rate)
        paths[utt.utt_id] = str(path.resolve())
    write_table(target / "wav.scp", paths)


def _write_tokens(text: Path, target: Path, config: dict) -> None:
    tokenize = import_espnet("espnet2.bin.tokenize_text")
    with atomic_write(target) as temporary:
        tokenize.tokenize(
            input=str(text),
            output=str(temporary),
            field="2-",
            delimiter=" ",
            token_type=config["token_type"],
            space_symbol="<space>",
            non_linguistic_symbols=None,
            bpemodel=None,
            log_level="WARNING",
            write_vocabulary=True,
            vocabulary_size=0,
            remove_non_linguistic_symbols=False,
            cutoff=0,
            add_symbol=["<blank>:0", "<unk>:1", "<sos/eos>:-1"],
            cleaner=config.get("cleaner"),
            g2p=config.get("g2p"),
            add_nonsplit_symbol=[],
        )
