"""Measurement of a trained FloWaveNet's bias, the faint tone that it adds to everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fwn_vocoder.checkpoint import load_checkpoint, save_checkpoint
from fwn_vocoder.data.dump import Dump
from fwn_vocoder.registry import load_model

MAX_FRAMES = 4000
"""Of mels to sample for the measurement: 46 s at the usual hop."""


@torch.inference_mode()
def calibrate(checkpoint: Path, dump_dir: Path, out: Path) -> list[float]:
    """Measure ``sample_bias`` on the mels of a dump, and write a checkpoint that has it.

    The bias is the mean, at each position of a squeezed step, of what the flow makes of noise.

    Raises:
        CheckpointError, DataError, MelMismatchError: as the files are.
    """
    model = load_model(checkpoint)
    config = model.config
    dump = Dump.open(dump_dir, config.mel)
    generator = torch.Generator().manual_seed(0)
    total, n_steps, n_frames = torch.zeros(config.total_squeeze, dtype=torch.float64), 0, 0
    for utt_id in dump.utt_ids:
        mel = torch.from_numpy(np.array(dump.mel(utt_id)[: MAX_FRAMES - n_frames]).T[None])
        latent = model.latent(mel, None, generator, None)
        samples, _ = model.flow.inverse(latent, model.condition(mel, None, sampling=True))
        steps = samples.double().view(-1, config.total_squeeze)
        total += steps.sum(dim=0)
        n_steps += len(steps)
        n_frames += mel.shape[2]
        if n_frames >= MAX_FRAMES:
            break
    bias = (total / n_steps).tolist()
    saved = load_checkpoint(checkpoint)
    save_checkpoint(out, replace(saved, config={**saved.config, "sample_bias": bias}))
    return bias
