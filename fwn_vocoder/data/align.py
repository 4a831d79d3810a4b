"""Forced alignment of recordings with their phones (pocketsphinx and its US English model).

Each distinct pronunciation becomes a word of a dictionary made for the corpus, so the aligner uses
exactly the phones that the text front end chose.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fwn_vocoder.audio import resample
from fwn_vocoder.errors import DataError, MissingDependencyError
from fwn_vocoder.mel import MelSpec
from fwn_vocoder.text.phones import Phonemized, Word, to_arpabet

ALIGNER_RATE = 16_000
ALIGNER_FRAME_S = 0.010
FRAME_CENTER_S = 0.0078
"""Where a boundary between two aligner frames lies, measured from the start of the second."""


class Aligner:
    """Aligns utterances of one corpus; made once from all its words."""

    def __init__(self, words: Iterable[Word]) -> None:
        pocketsphinx = _import_pocketsphinx()
        self.names: dict[tuple[str, ...], str] = {}
        for word in words:
            self.names.setdefault(word.phones, f"w{len(self.names)}")
        with tempfile.TemporaryDirectory() as directory:
            dictionary = Path(directory) / "corpus.dict"
            dictionary.write_text(
                "".join(
                    f"{name} {' '.join(map(to_arpabet, phones))}\n"
                    for phones, name in self.names.items()
                )
            )
            self.decoder = pocketsphinx.Decoder(
                dict=str(dictionary), lm=None, bestpath=False, loglevel="FATAL"
            )

    def durations(
        self, wav: np.ndarray, sample_rate: int, text: Phonemized, spec: MelSpec, mel: np.ndarray
    ) -> list[int]:
        """Return the frames of each token of ``text.tokens()``; they sum to ``len(mel)``.

        Args:
            wav: (T,) samples at ``sample_rate`` Hz.
            mel: (F, n_mels), used to tell the last phone from the silence after it.

        Raises:
            DataError: the recording does not fit the text.
        """
        starts = self._phone_starts(resample(wav, sample_rate, ALIGNER_RATE), text)
        n_frames = len(mel)
        to_frame = spec.sample_rate / spec.hop_length
        edges = [round((ALIGNER_FRAME_S * s + FRAME_CENTER_S) * to_frame) for s in starts]
        edges[0] = 0
        edges = [min(edge, n_frames) for edge in edges] + [n_frames]
        durations = [b - a for a, b in itertools.pairwise(edges)]
        if durations[-1] == 0 and len(durations) > 1:
            silence = min(_trailing_silence(mel), durations[-2] - 2)
            if silence > 0:
                durations[-2:] = [durations[-2] - silence, silence]
        return durations

    def _phone_starts(self, wav: np.ndarray, text: Phonemized) -> list[int]:
        """Return the aligner frame at which each token starts."""
        pcm = (np.clip(wav, -1, 1) * 32767).astype(np.int16).tobytes()
        names = [self.names[word.phones] for word in text.words]
        decoder = self.decoder
        try:
            decoder.set_align_text(" ".join(names))
            _decode(decoder, pcm)
            decoder.set_alignment()
            _decode(decoder, pcm)
            alignment = decoder.get_alignment()  # keep it: its items point into it
        except RuntimeError as error:
            raise DataError(f"the aligner failed: {error}") from error
        if alignment is None:
            raise DataError("the recording does not fit the text: no alignment found")
        words = [(w.name, w.start, w.duration, [p.start for p in w]) for w in alignment]
        spoken = [word for word in words if word[0] in self.names.values()]
        if [word[0] for word in spoken] != names:
            raise DataError("the recording does not fit the text: words are missing")
        starts = [0]
        for word, (_, _, _, phone_starts) in zip(text.words, spoken, strict=True):
            if len(phone_starts) != len(word.phones):
                raise DataError(f"the aligner changed the pronunciation of {word.spelling!r}")
            starts += phone_starts
            starts.append(-1)  # the boundary token: starts where the word ends
        ends = iter([start + duration for _, start, duration, _ in spoken])
        return [next(ends) if start == -1 else start for start in starts]


def _trailing_silence(mel: np.ndarray) -> int:
    """Return how many frames at the end are nearer to the quietest than to the usual level."""
    energy = mel.mean(axis=1)
    threshold = (np.percentile(energy, 2) + np.median(energy)) / 2
    loud = np.flatnonzero(energy > threshold)
    return len(energy) - 1 - int(loud[-1]) if len(loud) else 0


def _decode(decoder: object, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _import_pocketsphinx():
    try:
        import pocketsphinx
    except ImportError as error:
        raise MissingDependencyError(
            f"alignment needs pocketsphinx, which cannot be imported ({error}); install it with "
            "`pip install pocketsphinx`"
        ) from error
    return pocketsphinx
