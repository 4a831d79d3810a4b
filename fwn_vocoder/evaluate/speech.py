"""Evaluation of synthesised speech by a recogniser: word error rates of systems and recordings.

The recogniser is pocketsphinx with the US English model that comes with it: small, offline, and
much weaker than today's best, so its rates compare systems and say little by themselves. The rate
of the recordings, scored in the same run, is the mark to measure against.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jiwer
import numpy as np
import pocketsphinx
from tqdm import tqdm

from fwn_vocoder.audio import read_wav
from fwn_vocoder.data.kaldi import read_data_dir
from fwn_vocoder.errors import DataError
from fwn_vocoder.files import atomic_write
from fwn_vocoder.text.phones import phonemize

RECOGNISER_RATE = 16_000


def evaluate_speech(data_dir: str | Path, systems: dict[str, Path], out_dir: str | Path) -> Path:
    """Recognise each system's ``<utt_id>.wav`` and the recordings; return RESULTS.md's path.

    Raises:
        DataError: no transcripts, or a system lacks utterances.
    """
    utterances = read_data_dir(data_dir)
    if any(utt.text is None for utt in utterances):
        raise DataError(f"{data_dir}: has no transcripts (no `text` file)")
    references = [spoken_words(utt.text) for utt in utterances]
    recogniser = pocketsphinx.Decoder(loglevel="FATAL")
    rates = {"recording": _rate(recogniser, references, [u.wav_path for u in utterances])}
    for name, directory in systems.items():
        paths = [directory / f"{utt.utt_id}.wav" for utt in utterances]
        missing = [path.name for path in paths if not path.exists()]
        if missing:
            raise DataError(f"{directory}: system {name!r} lacks {len(missing)}: {missing[:3]}")
        rates[name] = _rate(recogniser, references, paths)
    out_dir = Path(out_dir)
    content = {"n_utterances": len(utterances), "word_error_rate": rates}
    with atomic_write(out_dir / "results.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    rows = "".join(f"| {name} | {100 * rate:.1f} % |\n" for name, rate in rates.items())
    with atomic_write(out_dir / "RESULTS.md") as temporary:
        temporary.write_text(
            f"# Speech from text\n\n{len(utterances)} utterances of `{data_dir}`. Word error rate "
            "of pocketsphinx 5 with its US English model, over the whole set; compare with the "
            f"recordings' own.\n\n| system | WER |\n|---|---|\n{rows}",
            encoding="utf-8",
        )
    return out_dir / "RESULTS.md"


def spoken_words(text: str) -> str:
    """Return the words of a text as they are spoken: lower case, numbers written out.

    >>> spoken_words("Dr. Smith has 2.")
    'doctor smith has two'
    """
    return " ".join(re.sub(r"[^a-z']", "", word.spelling.lower()) for word in phonemize(text).words)


def _rate(recogniser: pocketsphinx.Decoder, references: list[str], paths: list[Path]) -> float:
    hypotheses = []
    for path in tqdm(paths, desc="recognise", unit="utt", disable=None):
        wav, _ = read_wav(path, RECOGNISER_RATE)
        pcm = (np.clip(wav, -1, 1) * 32767).astype(np.int16).tobytes()
        recogniser.start_utt()
        recogniser.process_raw(pcm, full_utt=True)
        recogniser.end_utt()
        found = recogniser.hyp()
        hypotheses.append(found.hypstr if found else "")
    return jiwer.wer(references, hypotheses)
