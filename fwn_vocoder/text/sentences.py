"""Splitting of long texts into sentences (pysbd), none of them longer than a model can take."""

from __future__ import annotations

from functools import lru_cache

from fwn_vocoder.errors import TextError

MAX_SENTENCE_CHARACTERS = 300
MAX_TEXT_CHARACTERS = 1_000_000


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences; pieces without any letter or digit join their neighbour.

    A sentence of more than ``MAX_SENTENCE_CHARACTERS`` is divided at its punctuation, or else at a
    space. No word is lost.

    Raises:
        TextError: empty text, no letter or digit in it, or absurdly long.

    >>> split_sentences("Dr. Smith left at 5 p.m. Did he? Yes.")
    ['Dr. Smith left at 5 p.m.', 'Did he?', 'Yes.']
    """
    if not any(c.isalnum() for c in text):
        raise TextError(f"there is nothing to say in {text[:60]!r}; give at least one word")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TextError(
            f"the text has {len(text)} characters, the limit is {MAX_TEXT_CHARACTERS}; divide it"
        )
    sentences: list[str] = []
    for paragraph in text.split("\n"):
        for piece in _segmenter().segment(paragraph) if paragraph.strip() else []:
            if sentences and not any(c.isalnum() for c in piece):
                sentences[-1] += piece.rstrip()
            elif piece.strip():
                sentences += _divide(" ".join(piece.split()))
    return [s for s in sentences if any(c.isalnum() for c in s)]


def _divide(sentence: str) -> list[str]:
    """Divide a sentence that is too long, as near to its middle as punctuation allows."""
    if len(sentence) <= MAX_SENTENCE_CHARACTERS:
        return [sentence]
    middle = len(sentence) // 2
    for marks in (";:", ",", " "):
        cuts = [
            i + 1
            for i, c in enumerate(sentence[:-1])
            if c in marks and (marks == " " or sentence[i + 1] == " ")
        ]
        if cuts:
            cut = min(cuts, key=lambda i: abs(i - middle))
            return [*_divide(sentence[:cut].strip()), *_divide(sentence[cut:].strip())]
    return [*_divide(sentence[:middle]), *_divide(sentence[middle:])]


@lru_cache(maxsize=1)
def _segmenter():
    import pysbd

    return pysbd.Segmenter(language="en", clean=False)
