"""ESPnet2 acoustic models for inference, built without ESPnet's task machinery.

Only the model classes and text modules of espnet2 are imported, which need neither torchaudio nor
the long start-up of ``espnet2.bin``. Any TTS model with ``feat_gen`` works: Tacotron2,
Transformer-TTS, FastSpeech, FastSpeech2.
"""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fwn_vocoder.acoustic import AcousticModel, Utterance
from fwn_vocoder.checkpoint import Checkpoint, load_checkpoint, restore
from fwn_vocoder.config import Config, validate
from fwn_vocoder.errors import CheckpointError, ConfigError, TextError
from fwn_vocoder.espnet.config import TtsKeys, mel_spec_of, read_tts_config
from fwn_vocoder.espnet.imports import import_espnet
from fwn_vocoder.text.phones import MARKS, phonemize

_MODELS = {
    "tacotron2": "Tacotron2",
    "transformer": "Transformer",
    "fastspeech": "FastSpeech",
    "fastspeech2": "FastSpeech2",
}


class EspnetConf(Config):
    """``acoustic_conf`` of an ESPnet2 model: one packed file, or ESPnet's own pair of files."""

    checkpoint: str | None = None
    train_config: str | None = None
    model_file: str | None = None


class EspnetAcousticModel(AcousticModel):
    """An ESPnet2 TTS model with its text front end."""

    def __init__(self, keys: TtsKeys, config: dict[str, Any], device: str = "cpu") -> None:
        self.keys = keys
        self.config = config
        self.mel_spec = mel_spec_of(config)
        self.device = device
        self.network = _InferenceNetwork(_build_tts(config), self.mel_spec.n_mels)
        self.network.to(device).eval().requires_grad_(False)
        self.tokens: list[str] = config["token_list"]
        self.ids = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def load(cls, directory: Path, device: str, **conf: Any) -> EspnetAcousticModel:
        """Load a packed model (``checkpoint``) or an experiment (``train_config, model_file``)."""
        settings = validate(EspnetConf, conf, "acoustic_conf")
        if settings.checkpoint is not None:
            return cls.from_checkpoint(directory / settings.checkpoint, device)
        if settings.train_config is None or settings.model_file is None:
            raise ConfigError(
                "acoustic_conf of espnet2 needs `checkpoint`, or `train_config` and `model_file`"
            )
        return cls.from_experiment(
            directory / settings.train_config, directory / settings.model_file, device
        )

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "cpu") -> EspnetAcousticModel:
        """Load a packed model, written by :meth:`to_checkpoint`."""
        saved = load_checkpoint(path, kind="acoustic")
        keys = validate(TtsKeys, saved.config["keys"], str(path))
        model = cls(keys, saved.config["espnet"], device)
        restore(model.network, saved, path)
        return model

    @classmethod
    def from_experiment(
        cls, train_config: Path, model_file: Path, device: str = "cpu"
    ) -> EspnetAcousticModel:
        """Load what ``espnet2.bin.tts_train`` wrote; read with PyTorch's restricted unpickler.

        Raises:
            CheckpointError: the weights are missing, damaged or of another model.
        """
        keys, config = read_tts_config(train_config)
        model = cls(keys, config, device)
        state = read_weights(model_file)
        wanted = {
            name.replace("normalize.", "", 1) if name.startswith("normalize.") else name: value
            for name, value in state.items()
            if name.startswith(("tts.", "normalize."))
        }
        # An experiment without normalisation has no statistics.
        wanted.setdefault("mean", torch.zeros(model.mel_spec.n_mels))
        wanted.setdefault("std", torch.ones(model.mel_spec.n_mels))
        restore(model.network, Checkpoint("acoustic", {}, wanted), model_file)
        return model

    def to_checkpoint(self, dtype: torch.dtype = torch.float16) -> Checkpoint:
        """Return the model as one self-describing file, weights in ``dtype``."""
        kept = ("token_list", "token_type", "cleaner", "g2p", "bpemodel", "tts", "tts_conf",
                "feats_extract", "feats_extract_conf")  # fmt: skip
        config = {key: self.config[key] for key in kept if key in self.config}
        keys = {"text_frontend": self.keys.text_frontend}
        content = {"keys": keys, "espnet": config}
        return Checkpoint("acoustic", content, self.network.state_dict()).to(dtype)

    def __call__(self, sentence: str, speed: float = 1.0) -> Utterance:
        tokens, unspoken = self._tokenize(sentence)
        known = [self.ids[token] for token in tokens if token in self.ids]
        unspoken += [token for token in dict.fromkeys(tokens) if token not in self.ids]
        if not known:
            raise TextError(f"the acoustic model knows no token of {sentence[:60]!r}")
        with torch.inference_mode():
            mel = self.network(torch.tensor(known, device=self.device), speed)
        return Utterance(mel.float().cpu().numpy().astype(np.float32), tuple(unspoken))

    def _tokenize(self, sentence: str) -> tuple[list[str], list[str]]:
        """Return the tokens of a sentence, and what of it cannot be spoken."""
        if self.keys.text_frontend == "phones":
            text = phonemize(sentence)
            # A mark that the training text did not have is a pause like a full stop.
            tokens = ["." if t in MARKS and t not in self.ids else t for t in text.tokens()]
            return tokens, list(text.unspoken)
        cleaner = import_espnet("espnet2.text.cleaner").TextCleaner(self.config.get("cleaner"))
        return self._espnet_tokenizer().text2tokens(cleaner(sentence)), []

    def _espnet_tokenizer(self):
        if self.config["token_type"] == "char":
            # build_tokenizer would import g2p_en, which asks the network for its data.
            return import_espnet("espnet2.text.char_tokenizer").CharTokenizer()
        return import_espnet("espnet2.text.build_tokenizer").build_tokenizer(
            token_type=self.config["token_type"],
            bpemodel=self.config.get("bpemodel"),
            g2p_type=self.config.get("g2p"),
        )


def read_weights(model_file: Path) -> dict[str, Tensor]:
    """Read what ESPnet saved, with PyTorch's restricted unpickler.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        return torch.load(model_file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise CheckpointError(f"{model_file}: cannot read the weights: {error}") from error


class _InferenceNetwork(nn.Module):
    """The network and the statistics that undo its feature normalisation."""

    def __init__(self, tts: nn.Module, n_mels: int) -> None:
        super().__init__()
        self.tts = tts
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("std", torch.ones(n_mels))

    def forward(self, tokens: Tensor, speed: float) -> Tensor:
        """Return the raw (denormalised) mel (F, n_mels) of token ids (N,)."""
        options = {} if speed == 1.0 else {"alpha": 1.0 / speed}
        if options and "alpha" not in inspect.signature(self.tts.inference).parameters:
            raise ConfigError(
                f"{type(self.tts).__name__} has no durations to scale, so its speed is 1; "
                f"FastSpeech and FastSpeech2 can speak at speed {speed}"
            )
        mel = self.tts.inference(tokens, use_teacher_forcing=False, **options)["feat_gen"]
        return mel * self.std + self.mean


def _build_tts(config: dict[str, Any]) -> nn.Module:
    name = config.get("tts", "tacotron2")
    if name not in _MODELS:
        raise ConfigError(
            f"ESPnet2 model {name!r} cannot drive a vocoder; supported: {', '.join(_MODELS)}. "
            "End-to-end models such as VITS and JETS contain their own"
        )
    cls = getattr(import_espnet(f"espnet2.tts.{name}"), _MODELS[name])
    n_mels = (config.get("feats_extract_conf") or {}).get("n_mels", 80)
    return cls(idim=len(config["token_list"]), odim=n_mels, **(config.get("tts_conf") or {}))
