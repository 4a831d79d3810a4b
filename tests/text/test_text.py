import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwn_vocoder.errors import TextError
from fwn_vocoder.text.phones import MARKS, PAUSE, phonemize, to_arpabet
from fwn_vocoder.text.sentences import MAX_SENTENCE_CHARACTERS, split_sentences


def spelled(text):
    return " ".join(word.spelling.lower() for word in phonemize(text).words)


def test_numbers_and_abbreviations():
    text = "Dr. Smith paid $3.50 on 21 May 1999."
    assert spelled(text).startswith("doctor smith paid three dollars fifty cents on twenty one")
    assert spelled("the 1850s and 1900s") == "the eighteen fifties and nineteen hundreds"


def test_boundaries():
    tokens = phonemize("Well, yes! No: why? So").tokens()
    assert tokens[0] == PAUSE
    assert [t for t in tokens if t in MARKS] == [",", ".", ":", "?", "."]


def test_what_cannot_be_spoken_is_listed():
    assert phonemize("hello 日本 😀").unspoken == ("😀", "日本")
    assert phonemize('plain, (simple) "text" - here; it\'s $5!').unspoken == ()


@pytest.mark.parametrize("text", ["", "...", "日本"])
def test_nothing_to_say(text):
    with pytest.raises(TextError, match="nothing can be spoken"):
        phonemize(text)


def test_every_phone_of_the_lexicon_can_be_aligned():
    words = "judge church this thing vision sure yes he book boy now I day go fur hat hot law"
    for word in phonemize(words).words:
        for phone in word.phones:
            assert to_arpabet(phone)


def test_sentences():
    text = (
        'Dr. Low left at 5 p.m. Then "Yes!" she said. Is it?\nA new line without end\n\n- -\nLast.'
    )
    assert split_sentences(text) == [
        "Dr. Low left at 5 p.m.",
        'Then "Yes!" she said.',
        "Is it?",
        "A new line without end- -",
        "Last.",
    ]


@settings(max_examples=50)
@given(st.lists(st.text("abc,;. ", min_size=1, max_size=30), max_size=60))
def test_long_texts_lose_nothing(pieces):
    text = " ".join(["word", *pieces])
    parts = split_sentences(text)
    assert all(0 < len(part) <= MAX_SENTENCE_CHARACTERS for part in parts)
    letters = [c for c in text if c.isalnum()]
    assert [c for part in parts for c in part if c.isalnum()] == letters


def test_one_endless_word():
    parts = split_sentences("a" * 1000)
    assert "".join(parts) == "a" * 1000
    assert max(map(len, parts)) <= MAX_SENTENCE_CHARACTERS


@pytest.mark.parametrize("text", ["", "  \n", "?!", "😀"])
def test_empty_texts(text):
    with pytest.raises(TextError, match="nothing to say"):
        split_sentences(text)


def test_absurdly_long_texts():
    with pytest.raises(TextError, match="has 1000001 characters, the limit is 1000000"):
        split_sentences("a" * 1_000_001)
