"""The vocoder registry: names to classes.

Built-in vocoders are listed as strings and imported when asked for. Others come from
:func:`register_vocoder` or from installed packages with an entry point in the group
``fwn_vocoder.vocoders``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fwn_vocoder.config import validate
from fwn_vocoder.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from fwn_vocoder.models.base import Vocoder
    from fwn_vocoder.models.flowavenet import FloWaveNet

ENTRY_POINT_GROUP = "fwn_vocoder.vocoders"

_BUILT_IN = {
    "flowavenet": "fwn_vocoder.models.flowavenet:FloWaveNet",
    "griffin_lim": "fwn_vocoder.models.griffin_lim:GriffinLim",
}
_SAMPLERS = {"flowavenet": "fwn_vocoder.sampler:FloWaveNetSampler"}
"""What executes a trained model faster than the model itself."""

_registered: dict[str, type[Vocoder]] = {}

VocoderT = TypeVar("VocoderT", bound="type[Vocoder]")


def register_vocoder(name: str) -> Callable[[VocoderT], VocoderT]:
    """Class decorator: make a vocoder selectable by name.

    The class must derive from ``fwn_vocoder.models.base.Vocoder``, have a ``config_class`` and take
    one argument, its configuration.

    Raises:
        ConfigError: the name is taken.
    """

    def decorate(cls: VocoderT) -> VocoderT:
        if name in available_vocoders():
            raise ConfigError(f"vocoder {name!r} is registered already; choose another name")
        _registered[name] = cls
        return cls

    return decorate


def available_vocoders() -> list[str]:
    """Return the names that can be selected, sorted."""
    return sorted({*_BUILT_IN, *_registered, *_entry_points()})


def vocoder_class(name: str) -> type[Vocoder]:
    """Return the class of a vocoder.

    Raises:
        ConfigError: unknown name (the message lists what exists), or two packages provide it.
    """
    if name in _registered:
        return _registered[name]
    providers = _entry_points().get(name, [])
    if name in _BUILT_IN and not providers:
        return _load(_BUILT_IN[name])
    if len(providers) > 1 or (providers and name in _BUILT_IN):
        owners = ", ".join(entry.value for entry in providers)
        raise ConfigError(f"vocoder {name!r} is provided more than once: {owners}; remove one")
    if not providers:
        raise ConfigError(
            f"vocoder {name!r} is unknown; available: {', '.join(available_vocoders())}. Others "
            f"come with packages that have an entry point in the group {ENTRY_POINT_GROUP!r}"
        )
    return providers[0].load()


def load_vocoder(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    **conf: Any,
) -> Vocoder:
    """Build a vocoder by name, ready for synthesis.

    Args:
        checkpoint: weights with their configuration; ``conf`` then overrides single settings.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        dtype: floating-point type of the weights: ``"float32"``, ``"bfloat16"`` (the flow's state
            stays in float32), ``"float64"``; or ``"auto"``, which is bfloat16 where the processor
            computes in it, else float32.
        conf: the vocoder's settings (``vocoder_conf`` of a configuration file).

    Raises:
        ConfigError: unknown vocoder or setting.
        CheckpointError: missing, damaged, or for another vocoder.

    >>> load_vocoder("griffin_lim", mel="tacotron2").sample_rate
    22050
    """
    import torch
    from torch import nn

    from fwn_vocoder.checkpoint import load_checkpoint, restore

    cls = vocoder_class(name)
    saved = load_checkpoint(checkpoint, kind=name) if checkpoint is not None else None
    settings = {**(saved.config if saved else {}), **conf}
    vocoder = cls(validate(cls.config_class, settings, f"settings of vocoder {name!r}"))
    if not isinstance(vocoder, nn.Module):
        if saved:
            raise ConfigError(f"vocoder {name!r} has no weights; leave out checkpoint")
        return vocoder
    if saved is None:
        raise ConfigError(f"vocoder {name!r} needs trained weights: give checkpoint=PATH")
    restore(vocoder, saved, checkpoint)
    vocoder = vocoder.to(device).eval().requires_grad_(False)
    kind = _choose_dtype(device) if dtype == "auto" else getattr(torch, dtype)
    if name not in _SAMPLERS:
        return vocoder.to(kind)
    state = torch.float64 if kind == torch.float64 else torch.float32
    return _load(_SAMPLERS[name])(vocoder.to(state), kind)


def _choose_dtype(device: str) -> torch.dtype:
    """Return bfloat16 where the device has instructions for it, else float32."""
    import torch

    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def load_model(checkpoint: str | Path, **conf: Any) -> FloWaveNet:
    """Load a FloWaveNet as the module that it was trained as.

    It can ``encode``, state likelihoods and be trained on; ``load_vocoder`` samples faster.

    Args:
        conf: settings that override the checkpoint's.

    Raises:
        ConfigError: unknown setting.
        CheckpointError: missing, damaged, or not a FloWaveNet.
    """
    from fwn_vocoder.checkpoint import load_checkpoint, restore
    from fwn_vocoder.models.flowavenet import FloWaveNet, FloWaveNetConfig

    saved = load_checkpoint(checkpoint, kind="flowavenet")
    config = validate(FloWaveNetConfig, {**saved.config, **conf}, str(checkpoint))
    model = FloWaveNet(config).eval()
    restore(model, saved, checkpoint)
    return model


def _load(reference: str) -> Any:
    """Import ``module:attribute``."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _entry_points() -> dict[str, list]:
    found: dict[str, list] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found
