import builtins
import sys

import numpy as np
import pytest
import torch

from fwn_vocoder.checkpoint import load_checkpoint, save_checkpoint
from fwn_vocoder.config import write_yaml
from fwn_vocoder.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MelMismatchError,
    MissingDependencyError,
    SynthesisError,
    TextError,
)
from fwn_vocoder.espnet.acoustic import EspnetAcousticModel
from fwn_vocoder.espnet.config import TtsKeys, mel_spec_of, read_tts_config
from fwn_vocoder.espnet.imports import import_espnet
from fwn_vocoder.espnet.train import train_tts
from fwn_vocoder.mel import PRESETS
from tests.conftest import ROOT

SMALL = {
    "tacotron2": {"embed_dim": 8, "eunits": 8, "econv_chans": 8, "adim": 8, "aconv_chans": 4,
                  "dunits": 8, "prenet_units": 8, "postnet_layers": 0, "dlayers": 1},
    "transformer": {"embed_dim": 8, "eprenet_conv_layers": 0, "elayers": 1, "eunits": 8,
                    "adim": 8, "aheads": 2, "dlayers": 1, "dunits": 8, "postnet_layers": 0,
                    "dprenet_units": 8},
    "fastspeech": {"adim": 8, "aheads": 2, "elayers": 1, "eunits": 8, "dlayers": 1, "dunits": 8,
                   "postnet_layers": 0, "duration_predictor_chans": 8},
    "fastspeech2": {"adim": 8, "aheads": 2, "elayers": 1, "eunits": 8, "dlayers": 1, "dunits": 8,
                    "postnet_layers": 0, "duration_predictor_chans": 8,
                    "energy_predictor_chans": 8, "pitch_predictor_chans": 8},
}  # fmt: skip


def config_of(name):
    return {
        "tts": name,
        "tts_conf": SMALL[name],
        "token_list": ["<blank>", "<unk>", *"HELO", "<space>", "<sos/eos>"],
        "token_type": "char",
        "cleaner": "tacotron",
        "g2p": None,
        "feats_extract_conf": {"fmin": 80, "fmax": 7600},
    }


@pytest.mark.parametrize("name", SMALL)
def test_every_model_with_feat_gen_speaks(name, tmp_path):
    torch.manual_seed(0)
    model = EspnetAcousticModel(TtsKeys(), config_of(name))
    spoken = model("hello, hello")
    assert spoken.mel.shape[1] == 80
    assert spoken.mel.dtype == np.float32
    assert "," in spoken.unspoken
    save_checkpoint(tmp_path / "x.safetensors", model.to_checkpoint(torch.float32))
    again = EspnetAcousticModel.from_checkpoint(tmp_path / "x.safetensors")
    if name.startswith("fastspeech"):  # Tacotron2's prenet keeps its dropout when it speaks
        np.testing.assert_allclose(again("hello, hello").mel, spoken.mel, rtol=1e-5)


def test_end_to_end_models_are_refused():
    with pytest.raises(ConfigError, match="'vits' cannot drive a vocoder"):
        EspnetAcousticModel(TtsKeys(), {**config_of("tacotron2"), "tts": "vits"})
    with pytest.raises(MelMismatchError, match="only 'fbank'"):
        mel_spec_of({"feats_extract": "linear_spectrogram"})


def test_unknown_text():
    with pytest.raises(TextError, match="knows no token"):
        EspnetAcousticModel(TtsKeys(), config_of("fastspeech2"))("xyz")


def test_mel_definition_of_an_experiment():
    assert mel_spec_of({"feats_extract_conf": {}}) == PRESETS["espnet2"]
    spec = mel_spec_of({"feats_extract_conf": {"fs": "22.05k", "log_base": None, "fmin": 0}})
    assert (spec.sample_rate, spec.log_base, spec.fmin) == (22050, "e", 0.0)
    with pytest.raises(ConfigError, match="is 'fast', not a rate"):
        mel_spec_of({"feats_extract_conf": {"fs": "fast"}})
    with pytest.raises(MelMismatchError, match="is not supported"):
        mel_spec_of({"feats_extract_conf": {"htk": True}})


def test_our_keys_are_taken_out(tmp_path):
    write_yaml(tmp_path / "c.yaml", {"vocoder": "sine", "tts": "tacotron2", "train_dtype": "x"})
    keys, rest = read_tts_config(tmp_path / "c.yaml")
    assert keys.vocoder == "sine"
    assert rest == {"tts": "tacotron2", "train_dtype": "x"}


def test_missing_weights(tmp_path):
    write_yaml(tmp_path / "config.yaml", config_of("fastspeech2"))
    (tmp_path / "latest.pth").write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match=r"latest\.pth: cannot read the weights"):
        EspnetAcousticModel.from_experiment(tmp_path / "config.yaml", tmp_path / "latest.pth")
    with pytest.raises(ConfigError, match="needs `checkpoint`, or `train_config`"):
        EspnetAcousticModel.load(tmp_path, "cpu", model_file="latest.pth")


def test_without_espnet_the_fix_is_named(monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("espnet2"):
            raise ImportError("No module named 'espnet2'")
        return plain(name, *args, **kwargs)

    for name in [m for m in sys.modules if m.startswith("espnet2")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "espnet2", None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"Install ESPnet with: (tools/install|pip)"):
        import_espnet("espnet2.tts.fastspeech2")


def test_training_needs_preparation(tmp_path):
    with pytest.raises(DataError, match="run stage 5"):
        train_tts(
            ROOT / "egs/toy/conf/tacotron2.yaml",
            tmp_path,
            tmp_path / "exp",
            train_set="a",
            dev_set="b",
        )


def test_the_end_of_espnets_log_is_shown(tmp_path):
    data = tmp_path / "data"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        (data / name / "text").write_text("u hello\n")
        (data / name / "wav.scp").write_text("u /none.wav\n")
    (data / "tokens.txt").write_text("<blank>\n<unk>\nh\n<sos/eos>\n")
    with pytest.raises(SynthesisError, match=r"(?s)ESPnet ended with code 1.*none\.wav"):
        train_tts(
            ROOT / "egs/toy/conf/tacotron2.yaml",
            data,
            tmp_path / "exp",
            train_set="a",
            dev_set="b",
        )


def test_packed_models_have_no_pickle(tmp_path):
    model = EspnetAcousticModel(TtsKeys(), config_of("fastspeech2"))
    save_checkpoint(tmp_path / "x.safetensors", model.to_checkpoint())
    saved = load_checkpoint(tmp_path / "x.safetensors", kind="acoustic")
    assert saved.tensors["mean"].dtype == torch.float16
    assert saved.config["espnet"]["token_list"][2] == "H"
