"""A flow's inverse as a list of steps on one array of samples.

The waveform stays where it is. Folding time into channels is a view of it with longer rows, an
exchange of halves only renames columns, and what was factored out is left alone: each step knows
which columns are its channels, and weights are arranged accordingly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
from fwn_vocoder.sampler.rows import BLOCK_ROWS, Layout, RowNetwork


@dataclass(frozen=True)
class Places:
    """Where the channels of a level are: signal columns, and (array, column) of the condition.

    Attributes:
        signal: column of each channel in a row of ``width`` samples.
        arrays, columns: array and column of each channel of the condition.
        fold: rows of the condition's arrays that make one row here.
        widths: columns of the condition's arrays, folded so.
    """

    signal: Tensor
    width: int
    arrays: Tensor
    columns: Tensor
    fold: int
    widths: tuple[int, ...]


class Scale:
    """Undoes an ActNorm."""

    def __init__(self, flow: ActNorm, places: Places) -> None:
        self.width = places.width
        self.gain = flow.scale.new_ones(places.width)
        self.gain[places.signal] = 1.0 / flow.scale[0, :, 0]
        self.offset = flow.scale.new_zeros(places.width)
        self.offset[places.signal] = -flow.loc[0, :, 0]

    def invert(self, samples: Tensor, conditions: Sequence[Tensor]) -> None:
        """Change the samples (B, T) in place."""
        _rows(samples, self.width).mul_(self.gain).add_(self.offset)


class Affine:
    """Undoes a coupling, a prior or a conditioned affine: ``x = z * exp(log_scale) + shift``."""

    def __init__(self, flow: Coupling | ConditionedAffine, places: Places, dtype: torch.dtype):
        n = len(places.signal)
        is_coupling = isinstance(flow, Coupling)
        changed = places.signal[n // 2 :] if is_coupling else places.signal
        seen = Layout(places.signal[: n // 2], places.width) if is_coupling else None
        half = flow.condition_half if is_coupling else None
        channels = torch.arange(len(places.arrays))
        if half is not None:
            channels = channels.chunk(2)[half]
        self.arrays = sorted(set(places.arrays[channels].tolist()))
        conditions = []
        for array in self.arrays:
            index = torch.nonzero(places.arrays[channels] == array)[:, 0]
            layout = Layout(places.columns[channels[index]], places.widths[array])
            conditions.append((index, layout))
        self.width, self.fold = places.width, places.fold
        self.network = RowNetwork(
            flow.network,
            seen,
            Layout(changed, places.width),
            conditions,
            mean_first=is_coupling and flow.mean_first,
            dtype=dtype,
        )

    def invert(self, samples: Tensor, conditions: Sequence[Tensor]) -> None:
        """Change the samples (B, T) in place, some rows at a time.

        What a block changes is not what its neighbours see, so the order does not matter.
        """
        x = _rows(samples, self.width)
        folded = [
            conditions[i].view(len(x), -1, conditions[i].shape[2] * self.fold) for i in self.arrays
        ]
        n_rows, reach = x.shape[1], self.network.reach
        block = BLOCK_ROWS if x.device.type == "cpu" else n_rows
        for start in range(0, n_rows, block):
            stop = min(start + block, n_rows)
            low, high = max(0, start - reach), min(n_rows, stop + reach)
            around = [c[:, low:high] for c in folded]
            log_scale, shift = self.network.affine(x[:, low:high], around)
            inner = slice(start - low, stop - low)
            x[:, start:stop].mul_(log_scale[:, inner].exp_()).add_(shift[:, inner])


class Permute:
    """Moves columns, where an odd number of exchanges is not undone by renaming."""

    def __init__(self, sources: Tensor) -> None:
        self.sources = sources

    def invert(self, samples: Tensor, conditions: Sequence[Tensor]) -> None:
        """Change the samples (B, T) in place."""
        x = _rows(samples, len(self.sources))
        x.copy_(x[..., self.sources])


Step = Scale | Affine | Permute


def inverse_steps(flow: Flow, places: Places, dtype: torch.dtype) -> list[Step]:
    """Return the steps that turn noise into samples, in the order of their execution."""
    steps: list[Step] = []
    _walk(flow, places, dtype, steps)
    return steps[::-1]


def _walk(flow: Flow, places: Places, dtype: torch.dtype, steps: list[Step]) -> Tensor:
    """Append the forward order of steps; return where the signal's channels are afterwards."""
    signal = places.signal
    match flow:
        case Chain():
            for part in flow.flows:
                signal = _walk(part, replace(places, signal=signal), dtype, steps)
        case Flip():
            half = len(signal) // 2
            signal = torch.cat([signal[half:], signal[:half]])
        case ActNorm():
            steps.append(Scale(flow, places))
        case Coupling() | ConditionedAffine():
            steps.append(Affine(flow, places, dtype))
        case OnFirstHalf():
            half = len(signal) // 2
            inner = _walk(flow.flow, replace(places, signal=signal[:half]), dtype, steps)
            signal = torch.cat([inner, signal[half:]])
        case Squeezed():
            folded = _folded(places, flow.factor, flow.fold_condition)
            after = _walk(flow.flow, folded, dtype, steps)
            if not torch.equal(after, folded.signal):
                sources = torch.arange(folded.width)
                sources[after] = folded.signal
                steps.append(Permute(sources))
        case _:
            raise TypeError(f"no inverse step for {type(flow).__name__}")
    return signal


def _folded(places: Places, factor: int, fold_condition: bool) -> Places:
    """Return the places one level further inside, as ``models.flows.fold`` orders channels."""
    phase = torch.arange(factor)
    signal = (places.signal[:, None] + phase * places.width).flatten()
    folded = replace(places, signal=signal, width=places.width * factor)
    if not fold_condition:
        return folded
    widths = torch.tensor(places.widths)[places.arrays]
    return replace(
        folded,
        arrays=places.arrays.repeat_interleave(factor),
        columns=(places.columns[:, None] + phase * widths[:, None]).flatten(),
        fold=places.fold * factor,
        widths=tuple(width * factor for width in places.widths),
    )


def _rows(samples: Tensor, width: int) -> Tensor:
    return samples.view(len(samples), -1, width)
