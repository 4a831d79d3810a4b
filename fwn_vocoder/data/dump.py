"""Dump directories: extracted features, one file an utterance and kind.

``DUMP/mel/ID.npy`` (F, n_mels) float32; ``DUMP/wav/ID.npy`` (F * hop_length,) int16;
``DUMP/pitch/ID.npy`` (3, F) float32 where the vocoder has a harmonic excitation; and
``DUMP/mel.yaml``, the mel definition. A mel is written last, so an utterance whose mel exists is
complete, and extraction can be interrupted and sharded freely.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fwn_vocoder.audio import read_wav
from fwn_vocoder.config import read_yaml, validate, write_yaml
from fwn_vocoder.data.kaldi import Utterance, read_data_dir, shard
from fwn_vocoder.data.pitch import extract_pitch
from fwn_vocoder.errors import DataError, FwnError, PartialFailure
from fwn_vocoder.files import atomic_write
from fwn_vocoder.mel import MelSpec, extract_mel, plan_conversion

log = logging.getLogger(__name__)

PCM_SCALE = 32768.0


@dataclass(frozen=True)
class Dump:
    """A dump directory opened for reading."""

    directory: Path
    mel_spec: MelSpec
    utt_ids: list[str]

    @classmethod
    def open(cls, directory: str | Path, mel_spec: MelSpec | None = None) -> Dump:
        """Open a dump; with ``mel_spec`` require that very definition.

        Raises:
            DataError: not a dump, or empty.
            MelMismatchError: its mels have another definition.
        """
        directory = Path(directory)
        if not (directory / "mel.yaml").is_file():
            raise DataError(f"{directory}: is not a dump (no mel.yaml); make one by `fwn extract`")
        found = read_mel_definition(directory)
        if mel_spec is not None and not plan_conversion(found, mel_spec).is_identity:
            raise DataError(f"{directory}: has another mel definition; extract again")
        utt_ids = sorted(path.stem for path in (directory / "mel").glob("*.npy"))
        utt_ids = [utt_id for utt_id in utt_ids if not utt_id.startswith(".")]
        if not utt_ids:
            raise DataError(f"{directory}: holds no utterance; run `fwn extract`")
        return cls(directory, found, utt_ids)

    def mel(self, utt_id: str) -> np.ndarray:
        """Return a memory-mapped (F, n_mels) float32."""
        return load_array(self.directory / "mel" / f"{utt_id}.npy")

    def wav(self, utt_id: str) -> np.ndarray:
        """Return memory-mapped samples (F * hop_length,) int16; divide by ``PCM_SCALE``."""
        return load_array(self.directory / "wav" / f"{utt_id}.npy")

    def pitch(self, utt_id: str) -> np.ndarray:
        """Return a memory-mapped pitch track (3, F) float32."""
        return load_array(self.directory / "pitch" / f"{utt_id}.npy")


def read_mel_definition(directory: Path) -> MelSpec:
    """Read the mel definition of a dump directory."""
    path = directory / "mel.yaml"
    return validate(MelSpec, read_yaml(path), str(path))


def load_array(path: Path) -> np.ndarray:
    """Memory-map a ``.npy`` file without ever unpickling.

    Raises:
        DataError: missing, cut short or not a plain array.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot read the array: {error}") from error


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def extract_dump(
    data_dir: str | Path,
    out_dir: str | Path,
    mel_spec: MelSpec,
    *,
    with_pitch: bool,
    job: tuple[int, int] = (1, 1),
) -> int:
    """Extract the features of a data directory, or of one shard of it.

    Utterances that are complete are left alone. Returns the number of utterances extracted.

    Raises:
        DataError: the data directory is wrong, or the dump was made with another definition.
        PartialFailure: some utterances failed; each is named, the others are complete.
    """
    utterances = read_data_dir(data_dir)
    out_dir = Path(out_dir)
    if (out_dir / "mel.yaml").exists():
        found = read_mel_definition(out_dir)
        if found != mel_spec:
            plan_conversion(found, mel_spec)  # names the fields where the analysis differs
            raise DataError(f"{out_dir}: holds mels of another definition; use another directory")
    else:
        write_yaml(out_dir / "mel.yaml", mel_spec.model_dump(mode="json"))
    _warn_about_strangers(out_dir, utterances)
    failures, n_done = [], 0
    for utt in tqdm(shard(utterances, job), desc="extract", unit="utt", disable=None):
        complete = (out_dir / "mel" / f"{utt.utt_id}.npy").exists()
        if complete and (not with_pitch or (out_dir / "pitch" / f"{utt.utt_id}.npy").exists()):
            continue
        try:
            _extract_utterance(utt, out_dir, mel_spec, with_pitch)
            n_done += 1
        except FwnError as error:
            failures.append(f"{utt.utt_id}: {error}")
    if failures:
        raise PartialFailure(
            f"{out_dir}: {len(failures)} utterances could not be extracted:\n  "
            + "\n  ".join(failures)
        )
    return n_done


def _extract_utterance(utt: Utterance, out_dir: Path, spec: MelSpec, with_pitch: bool) -> None:
    wav, _ = read_wav(utt.wav_path, spec.sample_rate, utt.start_s, utt.end_s)
    if spec.peak is not None:
        wav = wav * (spec.peak / max(float(np.abs(wav).max()), 1e-9))
    n_frames = len(wav) // spec.hop_length
    if n_frames == 0:
        raise DataError(f"{utt.wav_path}: is shorter than one frame ({spec.hop_length} samples)")
    mel = extract_mel(wav, spec)[:n_frames]
    pcm = np.clip(np.round(wav * PCM_SCALE), -PCM_SCALE, PCM_SCALE - 1).astype(np.int16)
    save_array(out_dir / "wav" / f"{utt.utt_id}.npy", pcm[: n_frames * spec.hop_length])
    if with_pitch:
        save_array(out_dir / "pitch" / f"{utt.utt_id}.npy", extract_pitch(wav, spec))
    save_array(out_dir / "mel" / f"{utt.utt_id}.npy", mel)


def _warn_about_strangers(out_dir: Path, utterances: list[Utterance]) -> None:
    present = {path.stem for path in (out_dir / "mel").glob("*.npy")}
    strangers = sorted(present - {utt.utt_id for utt in utterances})
    if strangers:
        log.warning(
            "%s: holds %d utterances that the data directory does not list, such as %s",
            out_dir,
            len(strangers),
            strangers[0],
        )
