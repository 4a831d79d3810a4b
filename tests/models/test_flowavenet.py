import math

import pytest
import torch

from fwn_vocoder import load_vocoder
from fwn_vocoder.config import validate
from fwn_vocoder.errors import ConfigError, DataError, SynthesisError
from fwn_vocoder.models.flowavenet import FloWaveNet, FloWaveNetConfig, MelUpsampler
from fwn_vocoder.models.flows import ActNorm
from tests.conftest import TINY, randomize

CONFIGS = {
    "small": TINY,
    "published_shape": {"n_blocks": 8, "n_flows": 2, "channels": 4, "mel": {"n_mels": 8}},
    "odd_flows": {"n_blocks": 3, "n_flows": 3, "channels": 4, "mel": {"n_mels": 8}},
    "split_each": {
        "n_blocks": 3, "n_flows": 2, "channels": 4, "blocks_per_split": 1, "initial_squeeze": 4,
        "mel": {"n_mels": 8},
    },
    "odd_hop": {
        "n_blocks": 1, "n_flows": 2, "channels": 4, "initial_squeeze": 3,
        "mel": {"n_mels": 8, "hop_length": 270},
    },
    "whitened": {
        "n_blocks": 1, "n_flows": 2, "channels": 4, "initial_squeeze": 8,
        "linear_prediction_order": 8, "excitation": "harmonic", "split_condition": False,
        "mel_consistency": 2, "sample_bias": [0.1] * 8 + [-0.2] * 8,
        "mel": {"n_mels": 8},
    },
}  # fmt: skip


def build(name, seed=0):
    torch.manual_seed(seed)
    model = FloWaveNet(FloWaveNetConfig(**CONFIGS[name]))
    return randomize(model.double(), seed, 0.02).eval()


def mel_of(model, n_frames, batch=2):
    return torch.randn(batch, model.mel_spec.n_mels, n_frames, dtype=torch.float64) - 2


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_synthesis_undoes_encoding(name, n_frames):
    model = build(name)
    mel = mel_of(model, n_frames)
    wav = 0.1 * torch.randn(2, n_frames * model.mel_spec.hop_length, dtype=torch.float64)
    with torch.no_grad():
        latent = model.encode(wav, mel)
        back = model.synthesize(mel, latent=latent)
    assert latent.shape == (2, 1, wav.shape[1])
    torch.testing.assert_close(back, wav, atol=1e-9, rtol=0)
    assert not torch.allclose(latent[:, 0], wav)


@pytest.mark.parametrize("name", ["small", "whitened"])
def test_likelihood_is_that_of_the_change_of_variables(name):
    model = build(name)
    mel = mel_of(model, 1, batch=1)
    wav = 0.1 * torch.randn(1, 256, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: model.encode(v, mel).flatten(), wav
    ).view(256, 256)
    latent = model.encode(wav, mel)
    log_prior = -0.5 * (latent**2 + math.log(2 * math.pi)).sum()
    expected = -(log_prior + jacobian.slogdet().logabsdet) / 256
    torch.testing.assert_close(model(wav, mel)[0], expected)


def test_an_untrained_flow_is_linear_and_its_likelihood_known():
    """Couplings start as the identity, so with unit ActNorms the latent is the waveform."""
    model = FloWaveNet(FloWaveNetConfig(**CONFIGS["published_shape"])).double().eval()
    mel = mel_of(model, 1, batch=1)
    wav = torch.randn(1, 256, dtype=torch.float64)
    expected = 0.5 * (wav**2 + math.log(2 * math.pi)).mean(dim=1)
    torch.testing.assert_close(model(wav, mel), expected)


def test_temperature_scales_the_latent():
    model = build("small")
    mel = mel_of(model, 3)

    def generator():
        return torch.Generator().manual_seed(7)

    noise = torch.randn(2, 1, 768, generator=generator(), dtype=torch.float64)
    warm = model.synthesize(mel, temperature=0.5, generator=generator())
    torch.testing.assert_close(warm, model.synthesize(mel, latent=0.5 * noise))
    default = model.synthesize(mel, generator=generator())
    scale = model.config.temperature
    torch.testing.assert_close(default, model.synthesize(mel, latent=scale * noise))


def test_conditions_of_a_batch_do_not_mix():
    model = build("small")
    mel = mel_of(model, 3)
    latent = torch.randn(2, 1, 768, dtype=torch.float64)
    together = model.synthesize(mel, latent=latent)
    alone = [model.synthesize(mel[i : i + 1], latent=latent[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_training_reduces_the_loss_and_reaches_every_weight():
    torch.manual_seed(0)
    model = FloWaveNet(FloWaveNetConfig(**{**TINY, "excitation": "none"})).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    mel = torch.randn(4, 80, 4) - 2
    wav = 0.1 * torch.sin(torch.arange(1024) * 0.05).expand(4, -1) + 0.01 * torch.randn(4, 1024)
    losses = []
    for _ in range(30):
        loss = model(wav, mel).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[1] - 0.3
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert all(m.initialized for m in model.modules() if isinstance(m, ActNorm))


def test_published_size():
    """182 644 788 parameters in the 2019 release, less the residual outputs that feed nothing."""
    model = FloWaveNet(FloWaveNetConfig())
    n_parameters = sum(p.numel() for p in model.parameters())
    n_dead = (48 + 1) * (256 * 256 + 256 + 256)
    assert n_parameters + n_dead == 182_644_788


@pytest.mark.parametrize("scales", [(16, 16), (4, 8), (3, 5), ()])
def test_upsampling_length(scales):
    frames = MelUpsampler(scales, 0.4)(torch.randn(1, 5, 7)).shape
    assert frames == (1, 5, 7 * math.prod(scales))


def test_upsampling_scales_are_derived():
    assert FloWaveNetConfig().resolved_upsample_scales() == (16, 16)
    assert FloWaveNetConfig(**TINY).resolved_upsample_scales() == (4, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_blocks": 9}, "hop_length 256 is not divisible by 512"),
        ({"kernel_size": 2}, "kernel_size 2 is even"),
        ({"upsample_scales": (256, 1)}, "each must be at least 2"),
        ({"upsample_scales": (8, 8)}, "must give hop_length 256"),
        ({"excitation": "harmonic", "mel": "hifigan"}, "needs a mel with padding: center"),
        ({"n_block": 8}, "did you mean 'n_blocks'"),
        ({"mel": {"preset": "espnet2", "n_mel": 3}}, "did you mean 'n_mels'"),
    ],
)
def test_bad_configurations(change, message):
    with pytest.raises(ConfigError, match=message):
        validate(FloWaveNetConfig, change, "x")


@pytest.mark.parametrize(
    ("mel", "kwargs", "message"),
    [
        (torch.zeros(1, 81, 3), {}, r"takes \(B, 80, F\)"),
        (torch.zeros(80, 3), {}, r"takes \(B, 80, F\)"),
        (torch.zeros(1, 80, 0), {}, "F >= 1"),
        (torch.full((1, 80, 2), math.nan), {}, "NaN"),
        (torch.zeros(1, 80, 2), {"temperature": -1.0}, "temperature is -1.0"),
        (torch.zeros(1, 80, 2), {"latent": torch.zeros(1, 1, 100)}, r"needs \(1, 1, 512\)"),
        (
            torch.zeros(1, 80, 2),
            {"latent": torch.zeros(1, 1, 512), "temperature": 1.0},
            "not both",
        ),
    ],
)
def test_bad_input(mel, kwargs, message):
    with pytest.raises(DataError, match=message):
        build("small").synthesize(mel.double(), **kwargs)


def test_waveform_must_fit_the_mel():
    with pytest.raises(DataError, match=r"2 frames of 256 samples need \(1, 1, 512\)"):
        build("small")(torch.zeros(1, 500).double(), torch.zeros(1, 80, 2).double())


def test_overflow_is_reported():
    model = build("small")
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ActNorm):
                module.scale.fill_(1e-200)
    with pytest.raises(SynthesisError, match="NaN or infinite samples"):
        model.synthesize(mel_of(model, 2))


def test_vocode_is_reproducible():
    model = build("small").float()
    mel = mel_of(model, 3)[0].T.numpy()
    assert (model.vocode(mel, seed=1) == model.vocode(mel, seed=1)).all()
    assert (model.vocode(mel, seed=1) != model.vocode(mel, seed=2)).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loaded_weights_speak_alike_in_every_precision(tiny_checkpoint, dtype):
    vocoder = load_vocoder("flowavenet", checkpoint=tiny_checkpoint, dtype=dtype)
    exact = load_vocoder("flowavenet", checkpoint=tiny_checkpoint, dtype="float64")
    mel = mel_of(exact, 4)
    latent = torch.randn(2, 1, 1024, dtype=torch.float64)
    made = vocoder.synthesize(mel.to(vocoder.dtype), latent=latent.to(vocoder.dtype))
    torch.testing.assert_close(
        made.double(), exact.synthesize(mel, latent=latent), atol=1e-4, rtol=0
    )
