"""Feature extraction as an experiment file asks for it."""

from __future__ import annotations

from pathlib import Path

from fwn_vocoder.config import validate
from fwn_vocoder.data.dump import extract_dump
from fwn_vocoder.registry import vocoder_class
from fwn_vocoder.train.config import read_experiment


def extract_for(
    config_path: str | Path, data_dir: str | Path, out_dir: str | Path, job: tuple[int, int]
) -> int:
    """Extract what the vocoder of an experiment file is trained on; return how many utterances.

    Raises:
        ConfigError, DataError, PartialFailure: as the parts that are involved.
    """
    experiment = read_experiment(config_path)
    config_class = vocoder_class(experiment.vocoder).config_class
    config = validate(config_class, experiment.vocoder_conf, f"{config_path}: vocoder_conf")
    with_pitch = getattr(config, "excitation", "none") == "harmonic"
    return extract_dump(data_dir, out_dir, config.mel, with_pitch=with_pitch, job=job)
