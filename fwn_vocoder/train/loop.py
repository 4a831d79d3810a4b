"""The training loop: maximum likelihood, one stage, one loss (Kim et al. 2019)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fwn_vocoder.checkpoint import load_checkpoint, restore
from fwn_vocoder.config import validate, write_yaml
from fwn_vocoder.data.dump import Dump
from fwn_vocoder.data.segments import Batch, SegmentSampler
from fwn_vocoder.errors import ConfigError, SynthesisError
from fwn_vocoder.models.flowavenet import FloWaveNet, FloWaveNetConfig
from fwn_vocoder.registry import vocoder_class
from fwn_vocoder.train.config import Experiment, TrainConfig, learning_rate
from fwn_vocoder.train.monitor import Monitor
from fwn_vocoder.train.process import Ranks, join_ranks, stop_signals
from fwn_vocoder.train.state import TrainerState, link, prune, resume_state, save_state

log = logging.getLogger(__name__)

MAX_SKIPS_IN_A_ROW = 100


class Objective(nn.Module):
    """The loss of a batch, as one module so that distributed training can wrap it."""

    def __init__(self, vocoder: FloWaveNet) -> None:
        super().__init__()
        self.vocoder = vocoder

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean NLL (nats per sample) and the loss of the pitch predictor (or 0)."""
        nll = self.vocoder(batch.wav, batch.mel, batch.pitch).mean()
        if self.vocoder.excitation is None:
            return nll, nll.new_zeros(())
        return nll, self.vocoder.excitation.loss(batch.mel, batch.pitch)


@dataclass
class Run:
    """A training run: what is trained, on what, how, and where it is kept.

    Attributes:
        kind: registry name of the vocoder.
        saved_config: its configuration, as checkpoints keep it.
        train_sampler, dev_sampler: batches to learn from, and fixed ones to validate on.
    """

    config: TrainConfig
    kind: str
    saved_config: dict[str, Any]
    out_dir: Path
    train_sampler: SegmentSampler
    dev_sampler: SegmentSampler
    state: TrainerState
    ranks: Ranks


def train(
    experiment: Experiment,
    train_dir: Path,
    dev_dir: Path,
    out_dir: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    device: torch.device | None = None,
) -> Path:
    """Train a vocoder; return the path of the newest checkpoint.

    Runs on several processes under ``torchrun``. SIGTERM and SIGINT end it cleanly, with a
    checkpoint. A step whose gradient is not finite is skipped and counted.

    Args:
        resume: continue the newest checkpoint in ``out_dir`` if there is one.
        init_from: start from the weights of this checkpoint.
        max_steps: stop after this many steps in all; the schedule keeps to the configuration.
        max_minutes: stop after this time.

    Raises:
        ConfigError, DataError, CheckpointError: as the parts that are involved.
    """
    if vocoder_class(experiment.vocoder) is not FloWaveNet:
        raise ConfigError(f"vocoder {experiment.vocoder!r} cannot be trained here; flowavenet can")
    found = next(iter(sorted(out_dir.glob("checkpoint-*.safetensors"))), None)
    if found and not resume:
        raise ConfigError(
            f"{out_dir}: holds a run already ({found.name}); continue it with `--resume auto`, or "
            "choose another --out"
        )
    ranks = join_ranks(device)
    run = _prepare(experiment, train_dir, dev_dir, out_dir, init_from, ranks)
    if resume and resume_state(out_dir, run.state, run.saved_config):
        log.info("continuing %s at step %d", out_dir, run.state.step)
    if ranks.is_first:
        write_yaml(out_dir / "config.yaml", experiment.model_dump(mode="json"))
    limit = min(run.config.max_steps, max_steps or run.config.max_steps)
    deadline = time.monotonic() + 60 * max_minutes if max_minutes else math.inf
    try:
        _loop(run, limit, deadline)
    finally:
        ranks.leave()
    return out_dir / "latest.safetensors"


def _prepare(
    experiment: Experiment,
    train_dir: Path,
    dev_dir: Path,
    out_dir: Path,
    init_from: Path | None,
    ranks: Ranks,
) -> Run:
    """Open the data, build the model and give it its first weights."""
    config = experiment.train
    model_config = validate(FloWaveNetConfig, experiment.vocoder_conf, "vocoder_conf")
    train_sampler, dev_sampler = (
        SegmentSampler(
            Dump.open(directory, model_config.mel),
            segment_frames=config.segment_frames,
            batch_size=config.batch_size,
            min_rms=config.min_rms,
            with_pitch=model_config.excitation == "harmonic",
            seed=seed,
        )
        for directory, seed in ((train_dir, config.seed), (dev_dir, 0))
    )
    torch.manual_seed(config.seed)
    vocoder = FloWaveNet(model_config).to(ranks.device)
    if init_from is not None:
        restore(vocoder, load_checkpoint(init_from, kind=experiment.vocoder), init_from)
    else:
        _initialize(vocoder, train_sampler.batch(0).to(ranks.device))
    state = TrainerState(
        vocoder,
        torch.optim.Adam(vocoder.parameters(), lr=config.learning_rate, fused=True),
        {name: p.detach().clone() for name, p in vocoder.named_parameters()},
    )
    saved_config = model_config.model_dump(mode="json")
    return Run(
        config,
        experiment.vocoder,
        saved_config,
        out_dir,
        train_sampler,
        dev_sampler,
        state,
        ranks,
    )


def _loop(run: Run, limit: int, deadline: float) -> None:
    """Train until ``limit`` steps, the deadline (monotonic seconds), or a signal."""
    config, state, ranks = run.config, run.state, run.ranks
    objective = ranks.wrap(Objective(state.model))
    monitor = Monitor(run.out_dir) if ranks.is_first else None
    bar = tqdm(total=limit, initial=state.step, unit="step", disable=not ranks.is_first or None)
    progress = Progress(run, limit)
    saved_step, skips_in_a_row = None, 0

    with stop_signals() as stop, bar:
        while state.step < limit and not ranks.any(bool(stop) or time.monotonic() >= deadline):
            nll, pitch_loss, grad_norm = _step(run, objective)
            skips_in_a_row = 0 if torch.isfinite(grad_norm) else skips_in_a_row + 1
            if skips_in_a_row == MAX_SKIPS_IN_A_ROW:
                raise SynthesisError(
                    f"{skips_in_a_row} steps in a row had no finite gradient: the run has "
                    "diverged. Lower learning_rate and resume from an earlier checkpoint"
                )
            bar.update()
            if monitor and state.step % config.log_every == 0:
                monitor.scalars(progress.scalars(nll, pitch_loss, grad_norm), state.step)
                bar.set_postfix(nll=f"{nll.item():.3f}")
            if monitor and state.step % config.valid_every == 0:
                _validate_and_save(run, monitor)
                saved_step = state.step
    if monitor:
        if saved_step != state.step:
            _validate_and_save(run, monitor)
        monitor.close()


def _step(run: Run, objective: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Do one step; return NLL, pitch loss and gradient norm. A gradient not finite is skipped."""
    config, state = run.config, run.state
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.step, config)
    state.model.train()
    batch = run.train_sampler.batch(state.step, run.ranks.rank).to(run.ranks.device)
    with _autocast(config, run.ranks.device):
        nll, pitch_loss = objective(batch)
    state.optimizer.zero_grad(set_to_none=True)
    (nll + pitch_loss).backward()
    grad_norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip)
    if torch.isfinite(grad_norm):
        state.optimizer.step()
        _update_average(state.average, state.model, config.ema_decay, state.step)
    else:
        state.skipped += 1
        log.warning("step %d: gradient is not finite; step skipped", state.step)
    state.step += 1
    return nll, pitch_loss, grad_norm


class Progress:
    """Speed and curves of a run, measured from where it (re)started."""

    def __init__(self, run: Run, limit: int) -> None:
        self.run = run
        self.limit = limit
        self.first_step = run.state.step
        self.started = time.monotonic()
        frames = run.config.batch_size * run.config.segment_frames * run.ranks.world_size
        self.samples_per_step = frames * run.state.model.mel_spec.hop_length

    def scalars(self, nll: Tensor, pitch_loss: Tensor, grad_norm: Tensor) -> dict[str, float]:
        """Return the curves' values at this step, and log the main ones."""
        state = self.run.state
        done = (state.step - self.first_step) * self.samples_per_step
        rate = done / (time.monotonic() - self.started)
        log.info(
            "step %d of %d: nll %.4f nats per sample, %.0f samples/s",
            state.step, self.limit, nll.item(), rate,
        )  # fmt: skip
        return {
            "train/nll": nll.item(),
            "train/pitch_loss": pitch_loss.item(),
            "train/grad_norm": grad_norm.item(),
            "train/learning_rate": learning_rate(state.step, self.run.config),
            "train/samples_per_s": rate,
            "train/skipped_steps": state.skipped,
        }


def _validate_and_save(run: Run, monitor: Monitor) -> None:
    """Score and save the averaged weights; the raw ones go on being trained."""
    state, dev = run.state, run.dev_sampler
    with _averaged(state.model, state.average):
        nll = validation_nll(state.model, dev, run.config)
        bits = nll / math.log(2)
        log.info("step %d: validation %.4f nats (%.4f bits) per sample", state.step, nll, bits)
        values = {"valid/nll_nats_per_sample": nll, "valid/bits_per_sample": bits}
        monitor.scalars(values, state.step)
        try:
            monitor.sample(state.model, dev.dump, state.step)
        except SynthesisError as error:  # early weights may not invert; the run goes on
            log.warning("no sample at step %d: %s", state.step, error)
    is_best = nll < state.best_nll
    state.best_nll = min(nll, state.best_nll)
    info = {"valid_nll_nats_per_sample": nll}
    path = save_state(run.out_dir, state, run.kind, run.saved_config, info)
    if is_best:
        link(run.out_dir / "best.safetensors", path)
    prune(run.out_dir, run.config.keep)


@torch.no_grad()
def validation_nll(vocoder: FloWaveNet, sampler: SegmentSampler, config: TrainConfig) -> float:
    """Return the mean NLL in nats per sample over the first fixed batches of a sampler."""
    vocoder.eval()
    total = 0.0
    for index in range(config.valid_batches):
        batch = sampler.batch(index).to(vocoder.device)
        with _autocast(config, vocoder.device):
            total += vocoder(batch.wav, batch.mel, batch.pitch).mean().item()
    return total / config.valid_batches


@torch.no_grad()
def _initialize(vocoder: FloWaveNet, batch: Batch) -> None:
    """Set the ActNorm layers from one batch; the same on every rank, since the batch is."""
    vocoder.train()
    vocoder(batch.wav, batch.mel, batch.pitch)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the current ones; faster at the beginning."""
    decay = min(decay, (1 + step) / (10 + step))
    parameters = [p.detach() for p in model.parameters()]
    torch._foreach_lerp_(list(average.values()), parameters, 1.0 - decay)


@contextmanager
def _averaged(model: nn.Module, average: dict[str, Tensor]) -> Iterator[None]:
    """Give the model its averaged weights for a while."""
    parameters = dict(model.named_parameters())
    raw = {name: p.detach().clone() for name, p in parameters.items()}
    with torch.no_grad():
        for name, value in average.items():
            parameters[name].copy_(value)
        try:
            yield
        finally:
            for name, value in raw.items():
                parameters[name].copy_(value)


def _autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.dtype == "bfloat16")
