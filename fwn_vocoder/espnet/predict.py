"""Mels that an acoustic model predicts for recordings, to fine-tune a vocoder on."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fwn_vocoder.config import write_yaml
from fwn_vocoder.data.dump import PCM_SCALE, Dump, save_array
from fwn_vocoder.data.kaldi import read_table
from fwn_vocoder.errors import CheckpointError, DataError
from fwn_vocoder.espnet.acoustic import read_weights
from fwn_vocoder.espnet.config import mel_spec_of, read_tts_config
from fwn_vocoder.espnet.imports import import_espnet
from fwn_vocoder.mel import plan_conversion

SUFFIX = "-predicted"


def predict_mels(
    train_config: Path, model_file: Path, tts_data: Path, dump_dir: Path, out_dir: Path
) -> int:
    """Write a dump that holds each utterance twice: with its own mel, and with a predicted one.

    The acoustic model is given the recording's durations, pitch and energy, or for Tacotron2 its
    past frames (teacher forcing), so the predicted mel fits the recording frame by frame. Its id
    is ``ID-predicted``. Waveforms and pitch tracks are links to the original dump.

    Args:
        train_config, model_file: of the ESPnet2 experiment.
        tts_data: what ``fwn prepare-tts`` wrote for this set.
        dump_dir: its dump.

    Returns the number of utterances predicted.

    Raises:
        CheckpointError: the weights are missing, damaged or of another model.
        DataError: no dump, or of other utterances or another mel definition.
    """
    dump = Dump.open(dump_dir)
    model, preprocess, config = _load(train_config, model_file)
    conversion = plan_conversion(mel_spec_of(config, str(train_config)), dump.mel_spec)
    texts = read_table(tts_data / "text", "tokens")
    durations_file = tts_data / "durations"
    durations = read_table(durations_file, "durations") if durations_file.is_file() else {}
    missing = sorted(set(texts) - set(dump.utt_ids))
    if missing:
        raise DataError(f"{dump_dir}: lacks {len(missing)} utterances of {tts_data}, {missing[:3]}")
    write_yaml(out_dir / "mel.yaml", dump.mel_spec.model_dump(mode="json"))
    for utt_id, text in tqdm(texts.items(), desc="predict", unit="utt", disable=None):
        speech = torch.from_numpy(np.array(dump.wav(utt_id), dtype=np.float32) / PCM_SCALE)
        batch = {"text": torch.from_numpy(preprocess("-", {"text": text})["text"])}
        if utt_id in durations:
            batch["durations"] = torch.tensor([int(n) for n in durations[utt_id].split()])
        with torch.inference_mode():
            output = model.inference(speech=speech, use_teacher_forcing=True, **batch)
        mel = output.get("feat_gen_denorm", output["feat_gen"]).numpy()
        n_frames = len(dump.mel(utt_id))
        # Tacotron2 predicts whole groups of frames, so the last ones may be missing.
        if len(mel) < n_frames - (config.get("tts_conf") or {}).get("reduction_factor", 1):
            raise DataError(f"{utt_id}: {len(mel)} frames were predicted, {n_frames} are needed")
        predicted = conversion(mel[:n_frames].astype(np.float32))
        _link(dump_dir, out_dir, utt_id, utt_id, ("wav", "pitch", "mel"))
        _link(dump_dir, out_dir, utt_id, utt_id + SUFFIX, ("wav", "pitch"))
        save_array(out_dir / "mel" / f"{utt_id}{SUFFIX}.npy", predicted)
    return len(texts)


def _load(train_config: Path, model_file: Path):
    """Build the experiment's model and its text preprocessing."""
    task = import_espnet("espnet2.tasks.tts").TTSTask
    _, config = read_tts_config(train_config)
    args = Namespace(**config)
    model = task.build_model(args)
    try:
        model.load_state_dict(read_weights(model_file))
    except RuntimeError as error:
        raise CheckpointError(f"{model_file}: does not fit {train_config}: {error}") from error
    return model.eval(), task.build_preprocess_fn(args, False), config


def _link(source: Path, target: Path, utt_id: str, name: str, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        original = (source / kind / f"{utt_id}.npy").resolve()
        link = target / kind / f"{name}.npy"
        if original.exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(original)
