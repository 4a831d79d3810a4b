"""The training loop: maximum likelihood, one stage, one loss (Kim et al. 2019)."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fwn_vocoder.checkpoint import load_checkpoint, restore
from fwn_vocoder.config import dump_yaml, validate
from fwn_vocoder.data.dump import Dump
from fwn_vocoder.data.segments import Batch, SegmentSampler
from fwn_vocoder.errors import ConfigError, SynthesisError
from fwn_vocoder.files import atomic_write
from fwn_vocoder.models.flowavenet import FloWaveNet
from fwn_vocoder.registry import vocoder_class
from fwn_vocoder.train.config import Experiment, TrainConfig, learning_rate
from fwn_vocoder.train.monitor import Monitor
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
    config = experiment.train
    rank, world_size, device = _join_group(device)
    vocoder_type = vocoder_class(experiment.vocoder)
    if vocoder_type is not FloWaveNet:
        raise ConfigError(f"vocoder {experiment.vocoder!r} cannot be trained here; flowavenet can")
    model_config = validate(FloWaveNet.config_class, experiment.vocoder_conf, "vocoder_conf")
    torch.manual_seed(config.seed)
    vocoder = FloWaveNet(model_config).to(device)
    samplers = [
        SegmentSampler(
            Dump.open(directory, model_config.mel),
            segment_frames=config.segment_frames,
            batch_size=config.batch_size,
            min_rms=config.min_rms,
            with_pitch=vocoder.excitation is not None,
            seed=seed,
        )
        for directory, seed in ((train_dir, config.seed), (dev_dir, 0))
    ]
    if init_from is not None:
        restore(vocoder, load_checkpoint(init_from, kind=experiment.vocoder), init_from)
    else:
        _initialize(vocoder, samplers[0].batch(0).to(device))
    state = TrainerState(
        vocoder,
        torch.optim.Adam(vocoder.parameters(), lr=config.learning_rate, fused=True),
        {name: p.detach().clone() for name, p in vocoder.named_parameters()},
    )
    saved_config = model_config.model_dump(mode="json")
    out_dir.mkdir(parents=True, exist_ok=True)
    found = _existing_run(out_dir)
    if found and not resume:
        raise ConfigError(
            f"{out_dir}: holds a run already ({found.name}); continue it with `--resume auto`, or "
            "choose another --out"
        )
    if resume and resume_state(out_dir, state, saved_config):
        log.info("continuing %s at step %d", out_dir, state.step)
    if rank == 0:
        with atomic_write(out_dir / "config.yaml") as temporary:
            temporary.write_text(dump_yaml(experiment.model_dump(mode="json")), encoding="utf-8")
    limit = min(config.max_steps, max_steps or config.max_steps)
    deadline = time.monotonic() + 60 * max_minutes if max_minutes else math.inf
    return _run(
        state, samplers, config, experiment.vocoder, saved_config, out_dir, limit, deadline,
        device, rank, world_size,
    )  # fmt: skip


def _run(
    state: TrainerState,
    samplers: list[SegmentSampler],
    config: TrainConfig,
    kind: str,
    saved_config: dict,
    out_dir: Path,
    limit: int,
    deadline: float,
    device: torch.device,
    rank: int,
    world_size: int,
) -> Path:
    vocoder, optimizer = state.model, state.optimizer
    objective = Objective(vocoder)
    if world_size > 1:
        objective = nn.parallel.DistributedDataParallel(objective)
    monitor = Monitor(out_dir) if rank == 0 else None
    bar = tqdm(total=limit, initial=state.step, unit="step", disable=None if rank == 0 else True)
    latest = out_dir / "latest.safetensors"
    skips_in_a_row, started, first_step = 0, time.monotonic(), state.step
    n_samples = config.batch_size * config.segment_frames * vocoder.mel_spec.hop_length * world_size

    with _stop_signals() as stop:
        while state.step < limit and time.monotonic() < deadline and not stop:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(state.step, config)
            vocoder.train()
            batch = samplers[0].batch(state.step, rank).to(device)
            with _autocast(config, device):
                nll, pitch_loss = objective(batch)
            optimizer.zero_grad(set_to_none=True)
            (nll + pitch_loss).backward()
            grad_norm = nn.utils.clip_grad_norm_(vocoder.parameters(), config.grad_clip)
            if torch.isfinite(grad_norm):
                optimizer.step()
                _update_average(state.average, vocoder, config.ema_decay, state.step)
                skips_in_a_row = 0
            else:
                state.skipped, skips_in_a_row = state.skipped + 1, skips_in_a_row + 1
                log.warning("step %d: gradient is not finite; step skipped", state.step)
                if skips_in_a_row == MAX_SKIPS_IN_A_ROW:
                    raise SynthesisError(
                        f"{skips_in_a_row} steps in a row had no finite gradient: the run has "
                        "diverged. Lower learning_rate and resume from an earlier checkpoint"
                    )
            state.step += 1
            bar.update()
            if state.step % config.log_every == 0 and monitor:
                rate = (state.step - first_step) * n_samples / (time.monotonic() - started)
                values = {
                    "train/nll": nll.item(),
                    "train/pitch_loss": pitch_loss.item(),
                    "train/grad_norm": grad_norm.item(),
                    "train/learning_rate": learning_rate(state.step, config),
                    "train/samples_per_s": rate,
                    "train/skipped_steps": state.skipped,
                }
                monitor.scalars(values, state.step)
                bar.set_postfix(nll=f"{values['train/nll']:.3f}")
                log.info(
                    "step %d of %d: nll %.4f nats per sample, %.0f samples/s",
                    state.step, limit, values["train/nll"], rate,
                )  # fmt: skip
            if rank == 0 and state.step % config.valid_every == 0:
                _validate_and_save(state, samplers[1], config, kind, saved_config, out_dir, monitor)
    bar.close()
    if rank == 0:
        if state.step % config.valid_every or not latest.exists():
            _validate_and_save(state, samplers[1], config, kind, saved_config, out_dir, monitor)
        monitor.close()
    if world_size > 1:
        torch.distributed.destroy_process_group()
    return latest


def _validate_and_save(
    state: TrainerState,
    sampler: SegmentSampler,
    config: TrainConfig,
    kind: str,
    saved_config: dict,
    out_dir: Path,
    monitor: Monitor,
) -> None:
    """Score and save the averaged weights; the raw ones go on being trained."""
    vocoder = state.model
    with _averaged(vocoder, state.average):
        nll = validation_nll(vocoder, sampler, config)
        bits = nll / math.log(2)
        log.info("step %d: validation %.4f nats (%.4f bits) per sample", state.step, nll, bits)
        values = {"valid/nll_nats_per_sample": nll, "valid/bits_per_sample": bits}
        monitor.scalars(values, state.step)
        try:
            monitor.sample(vocoder, sampler.dump, state.step)
        except SynthesisError as error:  # early weights may not invert; the run goes on
            log.warning("no sample at step %d: %s", state.step, error)
    is_best = nll < state.best_nll
    state.best_nll = min(nll, state.best_nll)
    info = {"valid_nll_nats_per_sample": nll}
    path = save_state(out_dir, state, kind, saved_config, info)
    if is_best:
        link(out_dir / "best.safetensors", path)
    prune(out_dir, config.keep)


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


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of dying; a second one is not caught."""
    received: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        log.info("received signal %d: stopping after this step", number)
        received.append(number)
        signal.signal(number, previous[number])

    previous = {n: signal.signal(n, on_signal) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.dtype == "bfloat16")


def _join_group(device: torch.device | None) -> tuple[int, int, torch.device]:
    """Return rank, world size and device; join torchrun's process group if there is one."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device is None:
        device = torch.device(f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu")
    if world_size == 1:
        return 0, 1, device
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return torch.distributed.get_rank(), world_size, device


def _existing_run(out_dir: Path) -> Path | None:
    return next(iter(sorted(out_dir.glob("checkpoint-*.safetensors"))), None)
