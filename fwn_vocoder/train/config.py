"""Settings of a training run: the ``train`` section of an experiment file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fwn_vocoder.config import Config, read_yaml, validate


class TrainConfig(Config):
    """How a vocoder is trained. The defaults are the published ones where there are such."""

    max_steps: int = Field(700_000, ge=1)
    batch_size: int = Field(8, ge=1, description="segments a rank and step")
    segment_frames: int = Field(62, ge=1, description="length of a segment")
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["step", "cosine"] = "step"
    warmup_steps: int = Field(0, ge=0, description="linear rise of the learning rate")
    halve_every: int = Field(200_000, ge=1, description="schedule: step")
    grad_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the averaged weights; 0: none")
    min_rms: float = Field(1e-3, ge=0, description="quieter segments are not used")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the networks")
    seed: int = 0
    log_every: int = Field(50, ge=1)
    valid_every: int = Field(5000, ge=1, description="validate and save a checkpoint")
    valid_batches: int = Field(8, ge=1, description="fixed batches of the development set")
    keep: int = Field(3, ge=1, description="checkpoints to keep besides the best")


class Experiment(Config):
    """An experiment file: which vocoder, its sizes, and how it is trained."""

    vocoder: str = "flowavenet"
    vocoder_conf: dict[str, Any] = {}
    train: TrainConfig = TrainConfig()


def read_experiment(path: str | Path) -> Experiment:
    """Read an experiment file.

    Raises:
        ConfigError: unreadable or with unknown keys or wrong values.
    """
    return validate(Experiment, read_yaml(path), str(path))


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step (from 0): warm-up, then halving or a cosine to zero."""
    import math

    rate = config.learning_rate
    if step < config.warmup_steps:
        return rate * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return rate * 0.5 ** (step // config.halve_every)
    span = max(1, config.max_steps - config.warmup_steps)
    progress = min(1.0, (step - config.warmup_steps) / span)
    return rate * 0.5 * (1.0 + math.cos(math.pi * progress))
