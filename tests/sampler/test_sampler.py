"""The sampler against the plain model, which is the definition."""

import math

import pytest
import torch

from fwn_vocoder.errors import DataError, SynthesisError
from fwn_vocoder.mel import extract_mel
from fwn_vocoder.registry import load_model, load_vocoder
from fwn_vocoder.sampler import FloWaveNetSampler
from fwn_vocoder.sampler import steps as steps_module
from fwn_vocoder.sampler import vocoder as vocoder_module
from fwn_vocoder.voices import find_voice
from tests.conftest import tone
from tests.models.test_flowavenet import CONFIGS, build, mel_of

FRAMES = 150


def case(name, n_frames=FRAMES, batch=2):
    model = build(name)
    mel = mel_of(model, n_frames, batch)
    latent = torch.randn(batch, 1, n_frames * model.mel_spec.hop_length, dtype=torch.float64)
    with torch.no_grad():
        return model, mel, latent, model.synthesize(mel, latent=latent)


def snr_db(reference, other):
    noise = (reference - other).square().sum()
    return 10 * math.log10(reference.square().sum() / noise)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_model(name):
    model, mel, latent, expected = case(name)
    made = FloWaveNetSampler(model).synthesize(mel, latent=latent)
    torch.testing.assert_close(made, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_blocks_of_rows_change_nothing(name, monkeypatch):
    model, mel, latent, expected = case(name, 20)
    monkeypatch.setattr(steps_module, "BLOCK_ROWS", 7)
    made = FloWaveNetSampler(model).synthesize(mel, latent=latent)
    torch.testing.assert_close(made, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("chunk", [1, 37])
@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_are_the_whole(name, chunk, monkeypatch):
    model, mel, latent, expected = case(name)
    monkeypatch.setattr(vocoder_module, "CHUNK_FRAMES", chunk)
    made = FloWaveNetSampler(model).synthesize(mel, latent=latent)
    torch.testing.assert_close(made, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["published_shape", "split_each"])
def test_the_context_is_what_the_gradient_says(name):
    model, mel, latent, _ = case(name, 60, batch=1)
    mel.requires_grad_(True)
    latent.requires_grad_(True)
    hop_length, middle = model.mel_spec.hop_length, 30
    wav = model.synthesize(mel, latent=latent)
    wav[0, middle * hop_length : (middle + 1) * hop_length].sum().backward()
    frames = torch.nonzero(mel.grad[0].abs().sum(0) > 0)[:, 0]
    samples = torch.nonzero(latent.grad[0, 0])[:, 0]
    reach = max((frames - middle).abs().max(), (samples // hop_length - middle).abs().max())
    context = FloWaveNetSampler(model).context_frames
    assert context - 2 <= reach <= context


@pytest.mark.parametrize("name", ["published_shape", "whitened"])
@pytest.mark.parametrize("sizes", [[FRAMES], [1, 2, 60, 87], [50] * 3])
def test_a_stream_is_the_whole(name, sizes):
    model, mel, _, _ = case(name, batch=1)
    sampler = FloWaveNetSampler(model)
    whole = sampler.synthesize(mel, generator=torch.Generator().manual_seed(3))
    arrived = 0

    def chunks():
        nonlocal arrived
        for chunk in mel.split(sizes, dim=2):
            arrived += chunk.shape[2]
            yield chunk

    made, pieces = 0, []
    for piece in sampler.stream(
        chunks(), chunk_frames=16, generator=torch.Generator().manual_seed(3)
    ):
        made += piece.shape[1] // 256
        assert arrived == FRAMES or made + sampler.context_frames <= arrived
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-9, rtol=0)


def test_an_empty_stream_is_empty():
    assert list(FloWaveNetSampler(build("small")).stream([])) == []


def test_bad_streams():
    sampler = FloWaveNetSampler(build("small"))
    good = torch.zeros(1, sampler.mel_spec.n_mels, 40, dtype=torch.float64)
    with pytest.raises(DataError, match="chunk_frames is 0"):
        list(sampler.stream([good], chunk_frames=0))
    with pytest.raises(DataError, match="mel has shape"):
        list(sampler.stream([good[0]]))
    with pytest.raises(DataError, match="batch size 2, the first 1"):
        list(sampler.stream([good, good.repeat(2, 1, 1)]))


def test_unstable_weights_are_reported():
    model = build("published_shape")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("out.conv.bias"):
                parameter.fill_(1000.0)
    with pytest.raises(SynthesisError, match="temperature is too high"):
        FloWaveNetSampler(model).synthesize(mel_of(model, 3))


@pytest.mark.parametrize(("dtype", "least_db"), [("float32", 120), ("bfloat16", 50)])
def test_precision_on_trained_weights(dtype, least_db):
    directory, config = find_voice(None)
    path = directory / config.vocoder_conf["checkpoint"]
    model = load_model(path)
    torch.manual_seed(0)
    mel = torch.from_numpy(extract_mel(tone(0.7, 200.0), model.mel_spec)[:60].T[None])
    latent = 0.7 * torch.randn(1, 1, 60 * 256)
    with torch.no_grad():
        expected = model.synthesize(mel, latent=latent)
    made = load_vocoder("flowavenet", checkpoint=path, dtype=dtype).synthesize(mel, latent=latent)
    assert made.dtype == torch.float32
    assert snr_db(expected, made) > least_db
