"""FloWaveNet: a normalizing flow between waveforms and noise (Kim et al., ICML 2019)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from fwn_vocoder.config import Config
from fwn_vocoder.errors import DataError
from fwn_vocoder.mel import MelField, MelSpec
from fwn_vocoder.models.base import Vocoder, check_finite
from fwn_vocoder.models.consistency import MelConsistency
from fwn_vocoder.models.excitation import HarmonicExcitation
from fwn_vocoder.models.flows import (
    ActNorm,
    Chain,
    ConditionedAffine,
    Coupling,
    Flip,
    Flow,
    OnFirstHalf,
    Squeezed,
)
from fwn_vocoder.models.flows import fold as fold_time
from fwn_vocoder.models.linear_prediction import LinearPrediction, colour, whiten
from fwn_vocoder.models.wavenet import WaveNet

UNSTABLE = "the checkpoint is untrained or diverged, or the temperature is too high"


class FloWaveNetConfig(Config):
    """Sizes of a FloWaveNet. The defaults are the published ones."""

    mel: MelField = MelSpec()
    mel_mean: float = Field(0.0, description="subtracted from the mel before the network sees it")
    mel_std: float = Field(1.0, gt=0, description="then divided by this")
    n_blocks: int = Field(8, ge=1)
    n_flows: int = Field(6, ge=1, description="flows in a block")
    n_layers: int = Field(2, ge=1, description="WaveNet layers in a coupling")
    prior_layers: int = Field(2, ge=1, description="WaveNet layers in a factored-out prior")
    channels: int = Field(256, ge=1)
    kernel_size: int = Field(3, ge=1)
    blocks_per_split: int = Field(4, ge=1, description="half is factored out after so many blocks")
    split_condition: bool = Field(True, description="couplings see halves of the condition in turn")
    sampler_exchanges_condition: bool = Field(
        False,
        description="2019 checkpoints with an odd number of flows: their sampler (not their "
        "likelihood) sees the two halves of the condition exchanged",
    )
    initial_squeeze: int = Field(1, ge=1, description="fold the signal before the first block")
    conditioned_affine_layers: int = Field(
        0, ge=0, description="WaveNet layers of a shift and scale by the condition alone; 0: none"
    )
    upsample_scales: tuple[int, ...] | None = Field(None, description="None: two, about equal")
    upsample_slope: float = Field(0.4, description="of the leaky ReLU after each upsampling")
    excitation: Literal["none", "harmonic"] = "none"
    linear_prediction_order: int = Field(
        0, ge=0, le=64, description="of the filter that takes the mel's envelope out; 0: none"
    )
    sample_bias: tuple[float, ...] | None = Field(
        None, description="mean of what the flow samples at each position of a squeezed step"
    )
    bias_strength: float = Field(1.0, ge=0, le=1, description="how much of it is subtracted")
    mel_consistency: int = Field(
        0, ge=0, description="passes of a filter that gives samples the mel they were made from"
    )
    temperature: float = Field(0.8, ge=0, description="default standard deviation of the latent")

    @model_validator(mode="after")
    def _consistent(self) -> FloWaveNetConfig:
        hop_length = self.mel.hop_length
        if hop_length % self.total_squeeze:
            raise ValueError(
                f"hop_length {hop_length} is not divisible by {self.total_squeeze} "
                "(initial_squeeze * 2 ** n_blocks), so frames would not fill whole blocks"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} is even; a centred one is odd")
        if self.sample_bias is not None and len(self.sample_bias) != self.total_squeeze:
            raise ValueError(
                f"sample_bias has {len(self.sample_bias)} values; a squeezed step has "
                f"{self.total_squeeze}"
            )
        scales = self.upsample_scales
        if scales is not None and any(scale < 2 for scale in scales):
            raise ValueError(f"upsample_scales {scales}: each must be at least 2")
        if scales is not None and math.prod(scales) * self.initial_squeeze != hop_length:
            raise ValueError(
                f"upsample_scales {scales} times initial_squeeze {self.initial_squeeze} must give "
                f"hop_length {hop_length}"
            )
        if self.mel.padding != "center":
            for key, used in (
                ("excitation: harmonic", self.excitation == "harmonic"),
                ("linear_prediction_order", self.linear_prediction_order > 0),
            ):
                if used:
                    raise ValueError(f"{key} needs a mel with padding: center")
        return self

    @property
    def total_squeeze(self) -> int:
        """Samples that one time step of the innermost block stands for."""
        return self.initial_squeeze * 2**self.n_blocks

    def resolved_upsample_scales(self) -> tuple[int, ...]:
        """Return the given scales, or the two most equal factors of the needed one."""
        if self.upsample_scales is not None:
            return self.upsample_scales
        factor = self.mel.hop_length // self.initial_squeeze
        low = max(d for d in range(1, math.isqrt(factor) + 1) if factor % d == 0)
        return tuple(scale for scale in (low, factor // low) if scale > 1)


class FloWaveNet(nn.Module, Vocoder):
    """One bijection (B, 1, T) <-> (B, 1, T) between waveform and standard normal noise.

    Training maximises the exact likelihood; synthesis maps noise to audio in parallel. The
    temperature multiplies the noise. A latent that is given is inverted exactly; what is sampled
    is freed of its bias and passed through the mel-consistency filter, as configured.
    """

    config_class = FloWaveNetConfig

    def __init__(self, config: FloWaveNetConfig) -> None:
        super().__init__()
        self.config = config
        self.mel_spec = config.mel
        self.upsample = MelUpsampler(config.resolved_upsample_scales(), config.upsample_slope)
        self.excitation = (
            HarmonicExcitation(
                config.mel,
                config.mel_mean,
                config.mel_std,
                whitened=config.linear_prediction_order > 0,
            )
            if config.excitation == "harmonic"
            else None
        )
        self.linear_prediction = (
            LinearPrediction(
                config.mel, config.linear_prediction_order, config.mel_mean, config.mel_std
            )
            if config.linear_prediction_order
            else None
        )
        self.consistency = (
            MelConsistency(config.mel, config.mel_consistency) if config.mel_consistency else None
        )
        self.flow = _build_flow(config)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def forward(self, wav: Tensor, mel: Tensor, pitch: Tensor | None = None) -> Tensor:
        """Return the negative log-likelihood (B,) of waveforms, in nats per sample.

        Args:
            wav: (B, T) or (B, 1, T) samples, ``T = F * hop_length``.
            mel: (B, n_mels, F).
            pitch: (B, 3, F) measured pitch track for the harmonic excitation (see
                ``models.excitation``); None predicts it from the mel, as synthesis does.
        """
        latent, logdet = self._analyse(wav, mel, pitch)
        n_samples = latent.shape[2]
        log_prior = -0.5 * (latent**2 + math.log(2 * math.pi)).sum(dim=(1, 2))
        return -(log_prior + logdet) / n_samples

    def encode(self, wav: Tensor, mel: Tensor) -> Tensor:
        """Return the latent (B, 1, T) from which ``synthesize`` makes this waveform."""
        return self._analyse(wav, mel, None, sampling=True)[0]

    def synthesize(
        self,
        mel: Tensor,
        *,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Generate waveforms (B, T) from mels (B, n_mels, F); see ``Vocoder.synthesize``."""
        self.check_batch(mel)
        sampled = latent is None
        latent = self.latent(mel, temperature, generator, latent)
        filters = self.linear_prediction(mel) if self.linear_prediction else None
        wav, _ = self.flow.inverse(latent, self.condition(mel, None, sampling=True))
        if sampled:
            wav = self.without_bias(wav)
        if filters is not None:
            wav = colour(wav, filters)
        wav = check_finite(wav[:, 0], UNSTABLE)
        return self.consistency(wav, mel) if sampled and self.consistency else wav

    def latent(
        self,
        mel: Tensor,
        temperature: float | None,
        generator: torch.Generator | None,
        latent: Tensor | None,
    ) -> Tensor:
        """Draw the latent (B, 1, T) for a mel, or check the one that is given."""
        shape = (mel.shape[0], 1, mel.shape[2] * self.mel_spec.hop_length)
        if latent is None:
            scale = self.temperature(temperature)
            noise = torch.randn(shape, generator=generator, device=mel.device, dtype=mel.dtype)
            return noise.mul_(scale)
        if temperature is not None:
            raise DataError("give a latent or a temperature, not both: a latent is used as it is")
        if tuple(latent.shape) != shape:
            raise DataError(f"latent has shape {tuple(latent.shape)}; this mel needs {shape}")
        return latent

    def without_bias(self, samples: Tensor) -> Tensor:
        """Subtract the mean that every squeezed step of (..., T) samples has.

        A flow on squeezed steps leaves a faint tone at multiples of
        ``sample_rate / total_squeeze``. Its mean is measured once (``fwn calibrate``).
        """
        bias = samples.new_tensor(self.config.sample_bias or (0.0,)) * self.config.bias_strength
        steps = samples.unflatten(-1, (-1, len(bias)))  # (..., T) -> (..., T / squeeze, squeeze)
        return (steps - bias).flatten(-2)

    def temperature(self, asked: float | None) -> float:
        """Return the temperature that is asked for, or the configuration's own."""
        scale = self.config.temperature if asked is None else asked
        if not (math.isfinite(scale) and scale >= 0):
            raise DataError(f"temperature is {scale}; it must be finite and at least 0")
        return scale

    @property
    def condition_channels(self) -> int:
        """Channels of ``condition``'s result."""
        return _condition_channels(self.config)

    def _check_wav(self, wav: Tensor, mel: Tensor) -> Tensor:
        """Return ``wav`` as (B, 1, T), or raise ``DataError`` unless it fits the mel."""
        self.check_batch(mel)
        wav = wav.unsqueeze(1) if wav.dim() == 2 else wav  # (B, T) -> (B, 1, T)
        shape = (mel.shape[0], 1, mel.shape[2] * self.mel_spec.hop_length)
        if tuple(wav.shape) != shape:
            raise DataError(
                f"wav has shape {tuple(wav.shape)}; {mel.shape[2]} frames of "
                f"{self.mel_spec.hop_length} samples need {shape}"
            )
        return wav

    def _analyse(
        self, wav: Tensor, mel: Tensor, pitch: Tensor | None, sampling: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the latent (B, 1, T) and the log-determinant (B,)."""
        wav = self._check_wav(wav, mel)
        if self.linear_prediction is None:
            return self.flow(wav, self.condition(mel, pitch, sampling))
        filters = self.linear_prediction(mel)
        residual, gain = whiten(wav, filters)
        latent, logdet = self.flow(residual, self.condition(mel, pitch, sampling))
        return latent, logdet + gain

    def condition(self, mel: Tensor, pitch: Tensor | None, sampling: bool) -> Tensor:
        """Return what the couplings see, (B, C, T / initial_squeeze)."""
        condition = self.upsample((mel - self.config.mel_mean) / self.config.mel_std)
        if self.excitation is not None:
            rows = self.excitation(mel, pitch)  # (B, 3, T)
            folded = fold_time(rows, self.config.initial_squeeze)
            condition = torch.cat([condition, folded], dim=1)
        if sampling and self.config.sampler_exchanges_condition:
            return torch.cat(condition.chunk(2, dim=1)[::-1], dim=1)
        return condition


class MelUpsampler(nn.Module):
    """Transposed convolutions that bring (B, M, F) to (B, M, F * prod(scales)), band by band."""

    def __init__(self, scales: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.convs = nn.ModuleList()
        for scale in scales:
            conv = nn.ConvTranspose2d(
                1,
                1,
                (3, 2 * scale),
                stride=(1, scale),
                padding=(1, (scale + 1) // 2),
                output_padding=(0, scale % 2),
            )
            nn.init.kaiming_normal_(conv.weight)
            self.convs.append(weight_norm(conv))

    def forward(self, mel: Tensor) -> Tensor:
        x = mel.unsqueeze(1)  # (B, M, F) -> (B, 1, M, F)
        for conv in self.convs:
            x = nn.functional.leaky_relu(conv(x), self.slope)
        return x.squeeze(1)  # (B, 1, M, T) -> (B, M, T)


def _condition_channels(config: FloWaveNetConfig) -> int:
    n_rows = HarmonicExcitation.N_ROWS if config.excitation == "harmonic" else 0
    return config.mel.n_mels + n_rows * config.initial_squeeze


def _build_flow(config: FloWaveNetConfig) -> Flow:
    """Compose the multi-scale flow from the innermost block outwards."""
    x_channels = config.initial_squeeze
    c_channels = _condition_channels(config)
    sizes = []
    for block in range(1, config.n_blocks + 1):
        x_channels, c_channels = 2 * x_channels, 2 * c_channels
        splits = block % config.blocks_per_split == 0 and block < config.n_blocks
        sizes.append((block - 1, x_channels, c_channels, splits))
        x_channels = x_channels // 2 if splits else x_channels

    inner: Flow | None = None
    for block, x_channels, c_channels, splits in reversed(sizes):
        flows: list[Flow] = []
        if block == 0 and config.conditioned_affine_layers:
            flows.append(_conditioned_affine(config, x_channels, c_channels))
        for step in range(config.n_flows):
            turn = (block * config.n_flows + step) % 2
            flows += [
                ActNorm(x_channels),
                _coupling(config, x_channels, c_channels, turn),
                Flip(),
            ]
        if splits:
            flows += [_prior(config, x_channels, c_channels), OnFirstHalf(inner)]
        elif inner is not None:
            flows.append(inner)
        inner = Squeezed(Chain(flows))
    if config.initial_squeeze > 1:
        inner = Squeezed(inner, config.initial_squeeze, fold_condition=False)
    return inner


def _conditioned_affine(
    config: FloWaveNetConfig, x_channels: int, c_channels: int
) -> ConditionedAffine:
    n_layers = config.conditioned_affine_layers
    network = WaveNet(
        c_channels, 2 * x_channels, c_channels, config.channels, n_layers, config.kernel_size
    )
    return ConditionedAffine(network)


def _coupling(config: FloWaveNetConfig, x_channels: int, c_channels: int, turn: int) -> Coupling:
    seen = c_channels // 2 if config.split_condition else c_channels
    network = WaveNet(
        x_channels // 2, x_channels, seen, config.channels, config.n_layers, config.kernel_size
    )
    return Coupling(network, condition_half=turn if config.split_condition else None)


def _prior(config: FloWaveNetConfig, x_channels: int, c_channels: int) -> Coupling:
    network = WaveNet(
        x_channels // 2,
        x_channels,
        c_channels,
        config.channels,
        config.prior_layers,
        config.kernel_size,
    )
    return Coupling(network, mean_first=True)
