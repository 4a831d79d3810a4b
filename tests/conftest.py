"""Fixtures: synthetic signals, a tiny model, data directories. No test needs the network."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fwn_vocoder.checkpoint import Checkpoint, save_checkpoint
from fwn_vocoder.data.dump import extract_dump
from fwn_vocoder.mel import PRESETS
from fwn_vocoder.models.flowavenet import FloWaveNet, FloWaveNetConfig

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
LJSPEECH = ROOT.parent / "shared" / "ljspeech"

TINY = {
    "mel": "espnet2",
    "mel_mean": -2.2,
    "mel_std": 2.0,
    "n_blocks": 1,
    "n_flows": 2,
    "n_layers": 2,
    "channels": 8,
    "initial_squeeze": 8,
    "split_condition": False,
    "excitation": "harmonic",
    "conditioned_affine_layers": 1,
}


def tone(duration_s=1.0, f0=200.0, sample_rate=22050, seed=0):
    """A gliding harmonic tone with a little noise, (T,) float32."""
    t = np.arange(int(duration_s * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(f0 * (1 + 0.1 * np.sin(2 * np.pi * t))) / sample_rate
    wav = sum(np.sin(k * phase) / k for k in range(1, 12))
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.1 * wav + 0.001 * noise).astype(np.float32)


def randomize(module, seed=0, scale=0.05):
    """Give every parameter a little noise, so that no layer is the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((scale * noise).to(parameter))
        for name, buffer in module.named_buffers():
            if name.endswith("initialized"):
                buffer.fill_(True)
    return module


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    config = FloWaveNetConfig(**TINY)
    torch.manual_seed(0)
    model = randomize(FloWaveNet(config))
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    content = Checkpoint("flowavenet", config.model_dump(mode="json"), model.state_dict(), {})
    save_checkpoint(path, content)
    return path


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A data directory of three clips of different lengths."""
    directory = tmp_path_factory.mktemp("data")
    lines = []
    for index, duration_s in enumerate((0.7, 0.9, 1.1)):
        path = directory / f"clip{index}.wav"
        soundfile.write(path, tone(duration_s, 180 + 20 * index, seed=index), 22050, "PCM_16")
        lines.append(f"utt{index} {path}\n")
    (directory / "wav.scp").write_text("".join(lines))
    (directory / "text").write_text("utt0 one\nutt1 two\nutt2 three\n")
    return directory


@pytest.fixture(scope="session")
def dump_dir(data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("dump")
    extract_dump(data_dir, out, PRESETS["espnet2"], with_pitch=True)
    return out
