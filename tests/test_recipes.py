"""The recipes: shipped configurations load, options are checked, the toy pipeline runs whole."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fwn_vocoder import Synthesizer
from fwn_vocoder.checkpoint import load_checkpoint
from fwn_vocoder.config import read_yaml, validate
from fwn_vocoder.curves import save_curves
from fwn_vocoder.errors import DataError
from fwn_vocoder.espnet.config import mel_spec_of, read_tts_config
from fwn_vocoder.models.flowavenet import FloWaveNetConfig
from fwn_vocoder.registry import vocoder_class
from fwn_vocoder.train.config import read_experiment
from tests.conftest import ROOT

CONFIGS = sorted([*ROOT.glob("recipes/*/conf/*.yaml"), *ROOT.glob("egs/*/conf/*.yaml")])
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}


def run(script, *arguments, check=True):
    command = [str(ROOT / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd="/")
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_loads_and_names_its_command(path):
    assert path.read_text().startswith("# fwn train")
    if "tts" in read_yaml(path):
        keys, config = read_tts_config(path)
        assert keys.vocoder == "flowavenet"
        assert mel_spec_of(config).fmax == 7600.0
    else:
        experiment = read_experiment(path)
        vocoder_class(experiment.vocoder)
        validate(FloWaveNetConfig, experiment.vocoder_conf, str(path))


def test_acoustic_models_and_vocoders_share_one_mel():
    conf = ROOT / "recipes" / "ljspeech" / "conf"
    specs = [
        mel_spec_of(read_tts_config(conf / f"{n}.yaml")[1]) for n in ("fastspeech2", "tacotron2")
    ]
    for name in ("flowavenet", "flowavenet_small"):
        settings = read_experiment(conf / f"{name}.yaml").vocoder_conf
        specs.append(validate(FloWaveNetConfig, settings, name).mel)
    assert all(spec == specs[0] for spec in specs)


def test_the_published_configuration_is_the_default():
    settings = read_experiment(ROOT / "recipes/ljspeech/conf/flowavenet.yaml").vocoder_conf
    config = validate(FloWaveNetConfig, settings, "x")
    default = FloWaveNetConfig()
    for name in ("n_blocks", "n_flows", "n_layers", "channels", "blocks_per_split", "excitation",
                 "initial_squeeze", "split_condition", "conditioned_affine_layers"):  # fmt: skip
        assert getattr(config, name) == getattr(default, name)


@pytest.mark.parametrize("recipe", ["recipes/ljspeech", "egs/toy"])
def test_help_lists_the_stages(recipe):
    text = run(f"{recipe}/run.sh", "--help").stdout
    for stage in ("-1  download", "2  vocoder training", "9  pack a voice", "--max-minutes"):
        assert stage in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "1"], "unknown option --stages"),
        (["--stage", "one"], "--stage needs a whole number, not 'one'"),
        (["--stage"], "--stage needs a value"),
        (["1"], "unexpected argument '1'"),
        (["--stage", "0"], "give --db-root DIR"),
    ],
)
def test_bad_options(arguments, message, tmp_path):
    done = run("recipes/ljspeech/run.sh", *arguments, "--work-dir", tmp_path, check=False)
    if arguments == ["--stage"]:
        done = run("recipes/ljspeech/run.sh", "--stage", check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_failing_job_shows_the_end_of_its_log(tmp_path):
    log = tmp_path / "x.JOB.log"
    done = run("recipes/common/launch.sh", "JOB=1:2", log, "ls", tmp_path / "none.JOB", check=False)
    assert done.returncode != 0
    assert done.stderr.count("No such file") == 2
    assert "none.1" in (tmp_path / "x.1.log").read_text()


def test_jobs_run_with_their_number(tmp_path):
    run("recipes/common/launch.sh", "JOB=1:3", tmp_path / "JOB.log", "echo", "part JOB/3")
    assert (tmp_path / "2.log").read_text().endswith("part 2/3\n")


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Every stage of the toy recipe, run once."""
    directory = tmp_path_factory.mktemp("toy")
    finetune = ROOT / "egs/toy/conf/flowavenet.yaml"
    run("egs/toy/run.sh", "--stage", "-1", "--work-dir", directory, "--finetune-config", finetune)
    return directory


def test_the_toy_recipe_runs_whole(toy):
    vocoder, tts = toy / "exp" / "vocoder_flowavenet", toy / "exp" / "tts_tacotron2"
    assert "| griffin_lim |" in (vocoder / "RESULTS.md").read_text()
    assert "nats" in (vocoder / "RESULTS.md").read_text()
    assert "| recording |" in (tts / "RESULTS.md").read_text()
    for system in ("flowavenet", "griffin_lim"):
        assert len(list((vocoder / "wav" / system).glob("*.wav"))) == 2
        assert len(list((tts / "wav" / system).glob("*.wav"))) == 2


def test_the_vocoder_is_finetuned_on_predicted_mels(toy):
    mels = toy / "exp" / "tts_tacotron2" / "dump" / "tr_no_dev" / "mel"
    predicted = sorted(mels.glob("*-predicted.npy"))
    assert 2 * len(predicted) == len(list(mels.iterdir())) > 0
    for path in predicted:
        own = np.load(path.with_name(path.name.replace("-predicted", "")))
        mel = np.load(path)
        assert len(own) - 2 <= len(mel) <= len(own)
        assert (mel != own[: len(mel)]).any()
    weights = [
        load_checkpoint(path).tensors
        for path in (
            toy / "exp/vocoder_flowavenet_finetuned/best.safetensors",
            toy / "exp/voice/vocoder.safetensors",
            toy / "exp/vocoder_flowavenet/best.safetensors",
        )
    ]
    finetuned, packed, original = (w["excitation.predictor.head.bias"].half() for w in weights)
    assert torch.equal(packed, finetuned)
    config = load_checkpoint(toy / "exp/voice/vocoder.safetensors").config
    assert len(config["sample_bias"]) == 16
    assert not torch.equal(packed, original)


def test_a_run_without_curves_is_named(tmp_path):
    with pytest.raises(DataError, match="has no TensorBoard curve"):
        save_curves(tmp_path / "x.png", [tmp_path])


def test_our_keys_survive_training(toy):
    config = read_yaml(toy / "exp" / "tts_tacotron2" / "config.yaml")
    assert config["vocoder"] == "flowavenet"
    assert config["vocoder_conf"]["checkpoint"].endswith("calibrated.safetensors")


def test_the_packed_voice_speaks(toy):
    synthesizer = Synthesizer(toy / "exp" / "voice")
    audio = synthesizer("flow wave")
    assert len(audio.wav) == 256 * len(audio.mel)
    assert type(synthesizer.vocoder).__name__ == "FloWaveNetSampler"
    card = (toy / "exp" / "voice" / "README.md").read_text()
    assert "flowavenet" in card
    assert "curves.png" in card
    assert (toy / "exp" / "voice" / "curves.png").stat().st_size > 5000


def test_an_experiment_is_a_voice(toy):
    audio = Synthesizer(toy / "exp" / "tts_tacotron2")("flow wave", seed=1)
    assert audio.duration > 0


def test_resuming_continues(toy):
    exp = toy / "exp" / "vocoder_flowavenet"
    before = load_checkpoint(exp / "latest.safetensors").info["steps"]
    refused = run("egs/toy/run.sh", "--stage", 2, "--stop_stage", 2, "--work-dir", toy, check=False)
    assert refused.returncode != 0
    assert "holds a run already" in refused.stderr
    run("egs/toy/run.sh", "--stage", 2, "--stop-stage", 2, "--resume=auto", "--work-dir", toy)
    assert load_checkpoint(exp / "latest.safetensors").info["steps"] == before == 60
    assert f"at step {before}" in (exp / "train.log").read_text()


def test_resuming_the_acoustic_model_continues(toy):
    exp = toy / "exp" / "tts_tacotron2"
    assert "finished at 2 epochs" in (exp / "train.out").read_text()
    options = ["--stage", 6, "--stop_stage", 6, "--work-dir", toy, "--resume", "auto"]
    run("egs/toy/run.sh", *options, "--max-steps", 30)
    assert "finished at 3 epochs" in (exp / "train.out").read_text()


def test_sigterm_ends_the_acoustic_training_with_its_child(toy):
    command = ["train-tts", "--config", ROOT / "egs/toy/conf/tacotron2.yaml"]
    command += ["--data", toy / "exp/tts_tacotron2/data", "--train-set", "tr_no_dev"]
    command += ["--dev-set", "dev", "--out", toy / "exp/stopped", "--max-steps", "100000"]
    with subprocess.Popen(
        [str(BIN / "fwn"), *map(str, command)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        while not (toy / "exp" / "stopped" / "latest.pth").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)
        process.terminate()
        rest = process.stderr.read()
        assert process.wait() == 0, rest
    assert "stopping ESPnet" in rest
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(toy / "exp" / "stopped") not in running


def test_decoded_files_fit_the_recordings(toy):
    wav = next(iter((toy / "exp/vocoder_flowavenet/wav/flowavenet").glob("*.wav")))
    recording = toy / "corpus" / "wavs" / wav.name
    assert soundfile.info(wav).frames == soundfile.info(recording).frames // 256 * 256
