"""The files of a training run: checkpoints, the trainer's state beside them, latest and best.

``EXP/checkpoint-<N>steps.safetensors`` is ready for synthesis (averaged weights);
``EXP/checkpoint-<N>steps.trainer.safetensors`` holds what is needed to continue. ``latest`` and
``best`` are links to checkpoints.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fwn_vocoder.checkpoint import Checkpoint, load_checkpoint, restore, save_checkpoint
from fwn_vocoder.errors import CheckpointError

log = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint-(\d+)steps\.trainer\.safetensors")


@dataclass
class TrainerState:
    """What changes while training runs.

    Attributes:
        step: steps done.
        skipped: steps whose gradient was not finite.
        best_nll: lowest validation NLL so far, nats per sample.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    step: int = 0
    skipped: int = 0
    best_nll: float = float("inf")

    def counters(self) -> dict[str, Any]:
        """Return the plain values that a checkpoint keeps."""
        best = self.best_nll if self.best_nll < float("inf") else None
        return {"step": self.step, "skipped": self.skipped, "best_nll": best}


def save_state(
    directory: Path, state: TrainerState, kind: str, config: dict[str, Any], info: dict[str, Any]
) -> Path:
    """Save a checkpoint for synthesis and the trainer's state; return the checkpoint's path."""
    path = directory / f"checkpoint-{state.step}steps.safetensors"
    tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.items()}
    names = {id(p): name for name, p in state.model.named_parameters()}
    for group in state.optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in state.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{names[id(parameter)]}"] = value
    trainer = Checkpoint("trainer", config, tensors, state.counters())
    weights = {**state.model.state_dict(), **state.average}
    save_checkpoint(path, Checkpoint(kind, config, weights, {"steps": state.step, **info}))
    save_checkpoint(_trainer_path(path), trainer)
    link(directory / "latest.safetensors", path)
    return path


def resume_state(directory: Path, state: TrainerState, config: dict[str, Any]) -> bool:
    """Load the newest complete state into ``state``; False if there is none to continue.

    A damaged newest state is reported and the one before it is used.

    Raises:
        CheckpointError: the run was made with another model, or all states are damaged.
    """
    paths = sorted(
        (p for p in directory.glob("checkpoint-*.trainer.safetensors") if _NAME.fullmatch(p.name)),
        key=_steps,
        reverse=True,
    )
    for path in paths:
        try:
            saved = load_checkpoint(path, kind="trainer")
        except CheckpointError as error:
            log.warning("%s; trying the checkpoint before it", error)
            continue
        if saved.config != config:
            changed = [k for k in config if saved.config.get(k) != config[k]]
            raise CheckpointError(
                f"{path}: was trained with other settings ({', '.join(changed)}); use another "
                "--out directory, or the same configuration"
            )
        _fill(state, saved, path)
        return True
    if paths:
        raise CheckpointError(f"{directory}: every checkpoint is damaged; remove them to restart")
    return False


def prune(directory: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints and those that links point to."""
    kept = {(directory / name).resolve() for name in ("latest.safetensors", "best.safetensors")}
    states = sorted(directory.glob("checkpoint-*.trainer.safetensors"), key=_steps)
    for trainer in states[:-keep]:
        trainer.unlink()
        weights = directory / trainer.name.replace(".trainer", "")
        if weights.resolve() not in kept:
            weights.unlink(missing_ok=True)


def link(path: Path, target: Path) -> None:
    """Point ``path`` at a file of the same directory, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name)
    temporary.replace(path)


def _trainer_path(path: Path) -> Path:
    return path.with_name(path.name.replace(".safetensors", ".trainer.safetensors"))


def _steps(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _fill(state: TrainerState, saved: Checkpoint, path: Path) -> None:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in saved.tensors.items() if k.startswith(prefix)}

    restore(state.model, Checkpoint("trainer", {}, part("model.")), path)
    for name, value in part("average.").items():
        state.average[name].copy_(value)
    parameters = dict(state.model.named_parameters())
    for key, value in part("optimizer.").items():
        slot, name = key.split(".", 1)
        device = "cpu" if slot == "step" else parameters[name].device
        state.optimizer.state[parameters[name]][slot] = value.to(device)
    state.step = saved.info["step"]
    state.skipped = saved.info["skipped"]
    state.best_nll = float("inf") if saved.info["best_nll"] is None else saved.info["best_nll"]
