"""Make a toy corpus in LJSpeech's format: a singing machine that spells its words.

Every letter is a short harmonic sound whose two resonances depend on the letter; spaces are pauses.
Usage: make_corpus.py OUT_DIR [N_CLIPS]
"""

import sys
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 22050
LETTER_S = 0.09
WORDS = ("flow", "wave", "net", "mel", "noise", "voice", "tone", "band", "frame", "time", "phase")


def letter(character: str, f0: float, rng: np.random.Generator) -> np.ndarray:
    """Return the sound of a letter: harmonics of f0 (Hz) under two resonances, a little noise."""
    t = np.arange(int(LETTER_S * SAMPLE_RATE)) / SAMPLE_RATE
    code = ord(character) - ord("a")
    resonances = (300 + 100 * (code % 6), 1200 + 300 * (code // 6))
    frequencies = f0 * np.arange(1, int(5000 / f0))
    gains = sum(1 / (1 + ((frequencies - r) / 150) ** 2) for r in resonances)
    phases = 2 * np.pi * frequencies[:, None] * t
    tone = (gains[:, None] * np.sin(phases)).sum(axis=0)
    window = np.hanning(len(t)) ** 0.3
    return window * (0.08 * tone + 0.002 * rng.standard_normal(len(t)))


def speak(text: str, rng: np.random.Generator) -> np.ndarray:
    """Return the samples of a text of lower-case letters and spaces."""
    parts = []
    for index, character in enumerate(text):
        f0 = 220 - 60 * index / len(text)
        if character == " ":
            parts.append(0.0005 * rng.standard_normal(int(0.06 * SAMPLE_RATE)))
        else:
            parts.append(letter(character, f0, rng))
    return np.clip(np.concatenate(parts), -1, 1)


def main() -> None:
    """Write metadata.csv and wavs/."""
    out_dir = Path(sys.argv[1])
    n_clips = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    rng = np.random.default_rng(0)
    (out_dir / "wavs").mkdir(parents=True, exist_ok=True)
    lines = []
    for clip in range(1, n_clips + 1):
        text = " ".join(rng.choice(WORDS, size=3))
        wav = speak(text, rng)
        soundfile.write(out_dir / "wavs" / f"TOY-{clip:04d}.wav", wav, SAMPLE_RATE, "PCM_16")
        lines.append(f"TOY-{clip:04d}|{text}|{text}\n")
    (out_dir / "metadata.csv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
