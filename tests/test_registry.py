import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fwn_vocoder import available_vocoders, load_vocoder, register_vocoder, registry
from fwn_vocoder.config import read_yaml, write_yaml
from fwn_vocoder.errors import CheckpointError, ConfigError
from fwn_vocoder.models.griffin_lim import GriffinLim
from fwn_vocoder.voices import BUNDLED
from tests.conftest import ROOT


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    return register_vocoder("mine")(type("Mine", (GriffinLim,), {}))


def test_built_ins():
    assert {"flowavenet", "griffin_lim"} <= set(available_vocoders())


def test_registration(registered):
    assert "mine" in available_vocoders()
    assert type(load_vocoder("mine", n_iter=3)) is registered


@pytest.mark.parametrize("name", ["mine", "flowavenet"])
def test_names_are_taken_once(registered, name):
    with pytest.raises(ConfigError, match=f"'{name}' is registered already"):
        register_vocoder(name)(GriffinLim)


def test_unknown_name_lists_what_exists():
    with pytest.raises(ConfigError, match=r"'hifigan' is unknown; available: flowavenet, griffin"):
        load_vocoder("hifigan")


def test_unknown_setting():
    with pytest.raises(ConfigError, match="did you mean 'n_iter'"):
        load_vocoder("griffin_lim", n_iters=3)


def test_weights_are_needed():
    with pytest.raises(ConfigError, match="needs trained weights: give checkpoint=PATH"):
        load_vocoder("flowavenet")


def test_weights_are_not_needed(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="holds 'flowavenet'; 'griffin_lim' is needed"):
        load_vocoder("griffin_lim", checkpoint=tiny_checkpoint)


def test_auto_is_bfloat16_where_the_processor_has_it(tiny_checkpoint):
    automatic = load_vocoder("flowavenet", checkpoint=tiny_checkpoint, dtype="auto")
    flags = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    assert automatic.network_dtype == (torch.bfloat16 if native else torch.float32)
    assert automatic.dtype == torch.float32


def test_settings_override_those_of_the_checkpoint(tiny_checkpoint):
    vocoder = load_vocoder("flowavenet", checkpoint=tiny_checkpoint, temperature=0.1)
    assert vocoder.config.temperature == 0.1


def test_a_plugin_is_found_once_it_is_installed(tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    source.mkdir()
    for path in (ROOT / "egs" / "plugin").iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    subprocess.run([*pip, "--target", tmp_path / "site", source], check=True)
    voice = tmp_path / "voice"
    voice.mkdir()
    bundled = BUNDLED / "ljspeech"
    (voice / "acoustic.safetensors").symlink_to(bundled / "acoustic.safetensors")
    config = {**read_yaml(bundled / "voice.yaml"), "vocoder": "sine", "vocoder_conf": {}}
    write_yaml(voice / "voice.yaml", config)
    code = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
from fwn_vocoder import Synthesizer, available_vocoders, load_vocoder
assert "sine" in available_vocoders()
vocoder = load_vocoder("sine", mel="espnet2")
wav = vocoder.vocode(np.full((4, 80), -1.0, np.float32))
assert len(wav) == 4 * 256 and 0.01 < abs(wav).max() <= 1
synthesizer = Synthesizer(sys.argv[2])
assert synthesizer("Hello.").duration > 0.2
print(type(synthesizer.vocoder).__module__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site"), str(voice)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "fwn_vocoder_sine"
