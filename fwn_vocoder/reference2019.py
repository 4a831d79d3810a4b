"""Importer for checkpoints of the 2019 FloWaveNet release (.pth files)."""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

from fwn_vocoder.checkpoint import Checkpoint, save_checkpoint
from fwn_vocoder.errors import CheckpointError
from fwn_vocoder.mel import PRESETS
from fwn_vocoder.models.flowavenet import FloWaveNet, FloWaveNetConfig
from fwn_vocoder.models.flows import ActNorm, Coupling

log = logging.getLogger(__name__)


def import_reference(source: str | Path, target: str | Path) -> FloWaveNetConfig:
    """Convert a 2019 checkpoint to a fwn_vocoder checkpoint; return its configuration.

    The file is read with PyTorch's restricted unpickler (``weights_only``), which refuses code.

    Raises:
        CheckpointError: not such a checkpoint, or an additive (non-affine) one.
    """
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise CheckpointError(f"{source}: cannot read a PyTorch checkpoint: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{source}: has no `state_dict`; not a 2019 FloWaveNet checkpoint")
    state = {k.removeprefix("module."): v for k, v in content["state_dict"].items()}
    try:
        config = _infer_config(state)
        model = FloWaveNet(config)
        model.load_state_dict(_convert(state, model))
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{source}: is not a checkpoint of the 2019 FloWaveNet release: {error}"
        ) from error
    info = {"steps": int(content.get("global_step", 0)), "source": "2019 release"}
    checkpoint = Checkpoint("flowavenet", config.model_dump(mode="json"), model.state_dict(), info)
    save_checkpoint(target, checkpoint)
    log.warning(
        "%s: assumed the 2019 preprocessing (mel preset flowavenet2019); a checkpoint does not "
        "state its mel definition",
        source,
    )
    return config


def _infer_config(state: dict[str, Tensor]) -> FloWaveNetConfig:
    """Read all sizes off the names and shapes of the weights."""

    def count(pattern: str) -> int:
        found = [int(m.group(1)) for name in state if (m := re.match(pattern, name))]
        return max(found) + 1 if found else 0

    n_blocks = count(r"blocks\.(\d+)\.")
    priors = [i for i in range(n_blocks) if f"blocks.{i}.prior.front_conv.0.conv.bias" in state]
    network = "blocks.0.flows.0.coupling.net"
    if state[f"{network}.final_conv.3.conv.bias"].shape[0] != 2:
        raise ValueError("it has additive couplings (affine=False), which are not supported")
    front = state[f"{network}.front_conv.0.conv.weight_v"]
    scales = tuple(
        state[f"upsample_conv.{i}.weight_v"].shape[3] // 2
        for i in range(0, count(r"upsample_conv\.(\d+)\."), 2)
    )
    n_mels = state[f"{network}.res_blocks.0.filter_conv_c.weight_v"].shape[1]
    mel = PRESETS["flowavenet2019"].model_copy(update={"n_mels": n_mels})
    n_flows = count(r"blocks\.0\.flows\.(\d+)\.")
    return FloWaveNetConfig(
        mel=mel,
        n_blocks=n_blocks,
        n_flows=n_flows,
        sampler_exchanges_condition=n_blocks * n_flows % 2 == 1,
        n_layers=count(rf"{re.escape(network)}\.res_blocks\.(\d+)\."),
        prior_layers=count(rf"blocks\.{priors[0]}\.prior\.res_blocks\.(\d+)\.") if priors else 2,
        channels=front.shape[0],
        kernel_size=front.shape[2],
        blocks_per_split=priors[0] + 1 if priors else n_blocks,
        upsample_scales=scales,
    )


def _convert(state: dict[str, Tensor], model: FloWaveNet) -> dict[str, Tensor]:
    """Rename and fuse the weights. Both sides are walked in the order in which data flows."""
    config = model.config
    names = {id(module): name for name, module in model.named_modules()}
    flows = [m for m in model.flow.modules() if isinstance(m, ActNorm | Coupling)]
    converted: dict[str, Tensor] = {}
    for i in range(len(model.upsample.convs)):
        source = f"upsample_conv.{2 * i}"
        converted |= _normed(state, [source], f"upsample.convs.{i}")
    queue = iter(flows)
    for block in range(config.n_blocks):
        for step in range(config.n_flows):
            source = f"blocks.{block}.flows.{step}"
            actnorm, coupling = names[id(next(queue))], names[id(next(queue))]
            converted[f"{actnorm}.loc"] = state[f"{source}.actnorm.loc"]
            converted[f"{actnorm}.scale"] = state[f"{source}.actnorm.scale"]
            converted[f"{actnorm}.initialized"] = torch.tensor(True)
            converted |= _wavenet(state, f"{source}.coupling.net", f"{coupling}.network", False)
        if f"blocks.{block}.prior.front_conv.0.conv.bias" in state:
            # The 2019 code exchanges the halves of the condition after each flow; ours stay.
            exchanged = (block + 1) * config.n_flows % 2 == 1
            prior = f"{names[id(next(queue))]}.network"
            converted |= _wavenet(state, f"blocks.{block}.prior", prior, exchanged)
    return converted


def _wavenet(
    state: dict[str, Tensor], source: str, target: str, exchanged: bool
) -> dict[str, Tensor]:
    converted = _normed(state, [f"{source}.front_conv.0.conv"], f"{target}.front")
    converted |= _normed(state, [f"{source}.final_conv.1.conv"], f"{target}.head")
    for leaf in ("conv.weight", "conv.bias", "scale"):
        converted[f"{target}.out.{leaf}"] = state[f"{source}.final_conv.3.{leaf}"]
    n_layers = len(
        {
            k.split(".res_blocks.")[1].split(".")[0]
            for k in state
            if k.startswith(f"{source}.res_blocks.")
        }
    )
    for i in range(n_layers):
        old, new = f"{source}.res_blocks.{i}", f"{target}.layers.{i}"
        dilated = [f"{old}.filter_conv.conv", f"{old}.gate_conv.conv"]
        converted |= _normed(state, dilated, f"{new}.filter_gate")
        condition = [f"{old}.filter_conv_c", f"{old}.gate_conv_c"]
        converted |= _normed(state, condition, f"{new}.condition", exchanged)
        # The last residual convolution feeds nothing; our model does not have it.
        projections = [f"{old}.res_conv", f"{old}.skip_conv"]
        projections = projections if i < n_layers - 1 else projections[1:]
        converted |= _normed(state, projections, f"{new}.projection")
    return converted


def _normed(
    state: dict[str, Tensor], sources: list[str], target: str, exchanged: bool = False
) -> dict[str, Tensor]:
    """Stack weight-normalised convolutions along their outputs, under the new names."""
    direction = torch.cat([state[f"{s}.weight_v"] for s in sources])
    if exchanged:
        direction = torch.cat(direction.chunk(2, dim=1)[::-1], dim=1)
    return {
        f"{target}.bias": torch.cat([state[f"{s}.bias"] for s in sources]),
        f"{target}.parametrizations.weight.original0": torch.cat(
            [state[f"{s}.weight_g"] for s in sources]
        ),
        f"{target}.parametrizations.weight.original1": direction,
    }
