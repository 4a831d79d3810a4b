"""English phones by gruut: expansion of numbers and abbreviations, lexicon, unknown words.

Tokens of a sentence: a pause token ``_``, then for each word its phones (IPA, with stress marks)
and one boundary token: ``_`` between words, or the punctuation mark ``, ; : . ?`` that follows the
word. Boundary tokens carry pauses and may have no duration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwn_vocoder.errors import MissingDependencyError, TextError

PAUSE = "_"
MARKS = ",;:.?"

ARPABET = {
    "ɑ": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɔ": "AO", "aʊ": "AW", "aɪ": "AY",
    "b": "B", "t͡ʃ": "CH", "d": "D", "ð": "DH", "ɛ": "EH", "ɚ": "ER", "eɪ": "EY",
    "f": "F", "ɡ": "G", "h": "HH", "ɪ": "IH", "i": "IY", "d͡ʒ": "JH", "k": "K",
    "l": "L", "m": "M", "n": "N", "ŋ": "NG", "oʊ": "OW", "ɔɪ": "OY", "p": "P",
    "ɹ": "R", "s": "S", "ʃ": "SH", "t": "T", "θ": "TH", "ʊ": "UH", "u": "UW",
    "v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip
"""gruut's English phones without stress, and their ARPAbet names."""

_STRESS = "ˈˌ"
_MARK_OF = {
    ",": ",",
    ";": ";",
    ":": ":",
    ".": ".",
    "!": ".",
    "?": "?",
    "…": ",",
    "—": ",",
    "–": ",",
}
_SPEAKABLE = re.compile(r"[\w\s.,;:!?'\"“”‘’()\[\]{}<>*/\\&%$£€@#+=~^`|…—–-]", re.ASCII)


@dataclass(frozen=True)
class Word:
    """A spoken word: its spelling, its phones, and the boundary token after it."""

    spelling: str
    phones: tuple[str, ...]
    boundary: str = PAUSE


@dataclass(frozen=True)
class Phonemized:
    """What a text became.

    Attributes:
        words: the words to speak.
        unspoken: pieces of the text that no word covers; punctuation not counted.
    """

    words: tuple[Word, ...]
    unspoken: tuple[str, ...]

    def tokens(self) -> list[str]:
        """Return the tokens, starting with a pause."""
        tokens = [PAUSE]
        for word in self.words:
            tokens += [*word.phones, word.boundary]
        return tokens


def phonemize(text: str) -> Phonemized:
    """Turn English text into phones.

    Raises:
        TextError: nothing in the text can be spoken.
        MissingDependencyError: gruut is not installed.

    >>> " ".join(phonemize("Hello, you.").tokens())
    '_ h ɛ l ˈoʊ , j ˈu .'
    """
    words: list[Word] = []
    unspoken = _unspeakable_characters(text)
    for sentence in _import_gruut().sentences(_expand_decades(text), lang="en-us"):
        for item in sentence:
            if item.phonemes and not (item.is_major_break or item.is_minor_break):
                words.append(Word(item.text, tuple(item.phonemes)))
            elif mark := next((_MARK_OF[c] for c in item.text if c in _MARK_OF), None):
                if words:
                    last = words[-1]
                    words[-1] = Word(last.spelling, last.phones, mark)
            elif any(c.isalnum() for c in item.text) and item.text not in unspoken:
                unspoken.append(item.text)
    if not words:
        raise TextError(f"nothing can be spoken in {text[:60]!r}; give English words or numbers")
    if words[-1].boundary not in ".?":
        words[-1] = Word(words[-1].spelling, words[-1].phones, ".")
    return Phonemized(tuple(words), tuple(unspoken))


def to_arpabet(phone: str) -> str:
    """Return the ARPAbet name of a phone, stress dropped.

    >>> to_arpabet("ˈaɪ")
    'AY'
    """
    return ARPABET[phone.lstrip(_STRESS)]


def _expand_decades(text: str) -> str:
    """Write out decades, which gruut does not know: ``1850s`` becomes ``eighteen fifties``."""
    from num2words import num2words

    def spoken(match: re.Match) -> str:
        words = num2words(int(match[1]), to="year")
        return (words[:-1] + "ies" if words.endswith("y") else words + "s").replace("-", " ")

    return re.sub(r"\b(1\d\d0|20\d0)['’]?s\b", spoken, text)


def _unspeakable_characters(text: str) -> list[str]:
    """Return the characters that gruut drops without a trace, each once."""
    found: list[str] = []
    for character in text:
        known = _SPEAKABLE.match(character) or character.isalpha()
        if not known and character not in found:
            found.append(character)
    return found


def _import_gruut():
    try:
        import gruut
    except ImportError as error:
        raise MissingDependencyError(
            f"phones need gruut, which cannot be imported ({error}); install it with "
            "`pip install gruut gruut-lang-en`"
        ) from error
    return gruut
