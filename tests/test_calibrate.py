"""The bias of a FloWaveNet: measured once, then absent from samples."""

import numpy as np
import torch

from fwn_vocoder.calibrate import calibrate
from fwn_vocoder.checkpoint import Checkpoint, save_checkpoint
from fwn_vocoder.config import write_yaml
from fwn_vocoder.data.dump import save_array
from fwn_vocoder.registry import load_vocoder
from tests.models.test_flowavenet import build


def test_calibrated_samples_have_no_bias(tmp_path):
    model = build("small").float()
    last = [p for n, p in model.named_parameters() if n.endswith("out.conv.bias")][-1]
    with torch.no_grad():
        last.copy_(torch.linspace(-1, 1, len(last)))  # shifts that differ by position
    config = model.config.model_dump(mode="json")
    save_checkpoint(
        tmp_path / "x.safetensors", Checkpoint("flowavenet", config, model.state_dict())
    )
    rng = np.random.default_rng(0)
    mels = {name: rng.normal(-2, 1, (400, model.mel_spec.n_mels)) for name in "ab"}
    write_yaml(tmp_path / "dump" / "mel.yaml", model.mel_spec.model_dump(mode="json"))
    for name, mel in mels.items():
        save_array(tmp_path / "dump" / "mel" / f"{name}.npy", mel.astype(np.float32))
    bias = calibrate(tmp_path / "x.safetensors", tmp_path / "dump", tmp_path / "y.safetensors")
    assert len(bias) == model.config.total_squeeze

    def mean_of_each_position(checkpoint, **conf):
        vocoder = load_vocoder("flowavenet", checkpoint=tmp_path / checkpoint, **conf)
        wav = vocoder.vocode(mels["b"].astype(np.float32), seed=5)
        return wav.reshape(-1, len(bias)).mean(axis=0)

    before, after = (np.abs(mean_of_each_position(f"{x}.safetensors")).max() for x in "xy")
    assert after < 0.1 * before
    half = mean_of_each_position("y.safetensors", bias_strength=0.5)
    np.testing.assert_allclose(half, mean_of_each_position("x.safetensors") / 2, atol=0.05 * before)
