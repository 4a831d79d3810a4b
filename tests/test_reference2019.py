"""Against the 2019 release: numbers in float64 that its own code computed."""

import numpy as np
import pytest
import torch

from fwn_vocoder.checkpoint import load_checkpoint, restore
from fwn_vocoder.errors import CheckpointError
from fwn_vocoder.models.flowavenet import FloWaveNet, FloWaveNetConfig
from fwn_vocoder.reference2019 import import_reference
from tests.conftest import GOLDEN


@pytest.fixture(params=["tiny", "tiny_dataparallel", "nosplit", "nosplit_dataparallel"])
def imported(request, tmp_path):
    target = tmp_path / "x.safetensors"
    import_reference(GOLDEN / f"flowavenet_reference_{request.param}.pth", target)
    saved = load_checkpoint(target, kind="flowavenet")
    model = FloWaveNet(FloWaveNetConfig(**saved.config))
    restore(model, saved, target)
    name = request.param.removesuffix("_dataparallel")
    golden = np.load(GOLDEN / f"flowavenet_reference_{name}.npz")
    tensors = {k: torch.from_numpy(golden[k]) for k in ("x", "c", "c_upsampled", "z", "y")}
    return model.double().eval(), golden, tensors, saved


def test_upsampled_condition(imported):
    model, _, t, _ = imported
    torch.testing.assert_close(model.upsample(t["c"]), t["c_upsampled"], atol=1e-12, rtol=0)


def test_likelihood(imported):
    model, golden, t, _ = imported
    nll = model(t["x"], t["c"]).detach().numpy()
    np.testing.assert_allclose(-nll.mean(), golden["log_p"] + golden["logdet"], atol=1e-9)
    np.testing.assert_allclose(-nll, golden["per_item"].sum(axis=1), atol=1e-9)


def test_waveform(imported):
    model, _, t, _ = imported
    wav = model.synthesize(t["c"], latent=t["z"])
    torch.testing.assert_close(wav, t["y"][:, 0], atol=1e-9, rtol=0)


def test_round_trip(imported):
    model, _, t, _ = imported
    back = model.synthesize(t["c"], latent=model.encode(t["x"], t["c"]))
    torch.testing.assert_close(back, t["x"][:, 0], atol=1e-9, rtol=0)


def test_facts_are_kept(imported):
    *_, saved = imported
    assert saved.info["steps"] == 1234
    assert saved.config["mel"]["fmin"] == 125.0


def test_negative_scales_occur(imported):
    """The golden checkpoints do contain negative ActNorm scales, so the tests above cover them."""
    *_, saved = imported
    assert any((v < 0).any() for k, v in saved.tensors.items() if k.endswith(".scale"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": {}}, "has no `state_dict`"),
        ({"state_dict": {"x": torch.zeros(1)}}, "not a checkpoint of the 2019"),
    ],
)
def test_other_checkpoints(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        import_reference(tmp_path / "x.pth", tmp_path / "y.safetensors")
    assert not (tmp_path / "y.safetensors").exists()


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_code_is_refused(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="cannot read a PyTorch checkpoint"):
        import_reference(tmp_path / "x.pth", tmp_path / "y.safetensors")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_garbage(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read a PyTorch checkpoint"):
        import_reference(tmp_path / "x.pth", tmp_path / "y.safetensors")
