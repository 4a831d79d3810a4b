"""A WaveNet for inference: rows of channels, folded weights, bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fwn_vocoder.models.wavenet import WaveNet

BLOCK_ROWS = 2048
"""Rows that a network works on at a time on a CPU: its intermediates then stay in the cache."""


@dataclass(frozen=True)
class Layout:
    """Where a network finds its channels: channel ``i`` of the model is ``places[i]`` of ``width``.

    Input columns that belong to no channel get the weight 0, output columns the value 0.
    """

    places: Tensor
    width: int

    def columns(self, weight: Tensor) -> Tensor:
        """Spread the last dimension of a weight over the whole width."""
        spread = weight.new_zeros(*weight.shape[:-1], self.width)
        spread[..., self.places] = weight
        return spread


class RowNetwork:
    """Executes a trained ``WaveNet`` on rows (B, T, width) instead of channels (B, C, T).

    The same function up to rounding. Weight norm, the final gain and the factor after each residual
    sum are folded into the weights; a dilated convolution is one matrix product of shifted rows;
    skip outputs are one matrix product of all layers' hidden rows.

    Args:
        network: its weights are copied.
        inputs: layout of x, or None if x is the condition.
        outputs: layout of one half of the outputs, (log_scale, shift), or the reverse order if
            ``mean_first``.
        conditions: for each array of the condition: the model's channels it holds (indices into
            the network's condition), and their layout in it.
        dtype: of the weights and of the arithmetic.
    """

    def __init__(
        self,
        network: WaveNet,
        inputs: Layout | None,
        outputs: Layout,
        conditions: Sequence[tuple[Tensor, Layout]],
        mean_first: bool,
        dtype: torch.dtype,
    ) -> None:
        def ready(weight: Tensor) -> Tensor:
            return weight.to(dtype).contiguous()

        self.dtype = dtype
        self.reads_condition = inputs is None
        front = network.front.weight.transpose(1, 2)  # (C, in, K) -> (C, K, in)
        parts = (
            [layout.columns(front[..., index]) for index, layout in conditions]
            if inputs is None
            else [inputs.columns(front)]
        )
        # The first and the last product keep the state's precision: they are small, and what they
        # round goes straight into the waveform.
        self.front = [part.flatten(1).contiguous() for part in parts]
        self.front_bias = network.front.bias
        self.kernel_size = network.front.kernel_size[0]
        self.layers = []
        skips, skip_bias = [], torch.zeros_like(network.head.bias)
        scale = 1.0  # the rows hold the hidden state times this
        for layer in network.layers:
            channels = layer.filter_gate.in_channels
            dilated = layer.filter_gate.weight.transpose(1, 2).flatten(1) / scale
            by_array = layer.condition.weight[..., 0]
            projection = layer.projection.weight[..., 0]
            bias = layer.projection.bias
            residual = None
            if layer.has_residual:
                residual = (ready(scale * projection[:channels]), ready(scale * bias[:channels]))
                projection, bias = projection[channels:], bias[channels:]
                scale *= math.sqrt(2.0)
            skips.append(projection)
            skip_bias = skip_bias + bias
            self.layers.append(
                RowLayer(
                    layer.filter_gate.dilation[0],
                    ready(dilated),
                    ready(layer.filter_gate.bias + layer.condition.bias),
                    [ready(layout.columns(by_array[:, index])) for index, layout in conditions],
                    residual,
                )
            )
        self.skip = (ready(torch.cat(skips, dim=1)), ready(skip_bias))
        self.head = (ready(network.head.weight[..., 0]), ready(network.head.bias))
        gain = torch.exp(3.0 * network.out.scale[0, :, 0])
        halves = []
        for value in (
            network.out.conv.weight[..., 0] * gain[:, None],
            network.out.conv.bias * gain,
        ):
            first, second = value.movedim(0, -1).chunk(2, dim=-1)
            if mean_first:
                first, second = second, first
            both = torch.cat([outputs.columns(first), outputs.columns(second)], dim=-1)
            halves.append(both.movedim(-1, 0).contiguous())
        self.out = tuple(halves)

    @property
    def reach(self) -> int:
        """Rows on each side that a row depends on."""
        dilations = [1, *(layer.dilation for layer in self.layers)]
        return (self.kernel_size - 1) // 2 * sum(dilations)

    def affine(self, x: Tensor, conditions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return log_scale and shift, (B, T, width) each, for rows and the condition's arrays."""
        hidden = self.front_bias
        for rows, weight in zip(
            conditions if self.reads_condition else [x], self.front, strict=True
        ):
            hidden = hidden + F.linear(_shifted(rows.to(x.dtype), 1, self.kernel_size), weight)
        hidden = hidden.relu_().to(self.dtype)
        gated = hidden.new_empty(*hidden.shape[:2], self.skip[0].shape[1])
        channels = hidden.shape[2]
        for i, layer in enumerate(self.layers):
            z = gated[..., i * channels : (i + 1) * channels]
            torch.mul(*layer.activations(hidden, conditions, self.kernel_size), out=z)
            if layer.residual is not None:
                hidden = hidden.add_(F.linear(z, *layer.residual))
        hidden = F.linear(F.linear(gated, *self.skip).relu_(), *self.head).relu_()
        log_scale, shift = F.linear(hidden.to(x.dtype), *self.out).chunk(2, dim=2)
        return log_scale, shift


@dataclass(frozen=True)
class RowLayer:
    """One gated layer: the dilated product with its bias, the condition's, and the residual's."""

    dilation: int
    dilated: Tensor
    bias: Tensor
    conditions: list[Tensor]
    residual: tuple[Tensor, Tensor] | None

    def activations(
        self, hidden: Tensor, conditions: list[Tensor], kernel_size: int
    ) -> tuple[Tensor, Tensor]:
        """Return tanh(filter) and sigmoid(gate), (B, T, channels) each."""
        total = F.linear(_shifted(hidden, self.dilation, kernel_size), self.dilated, self.bias)
        flat = total.view(-1, total.shape[2])
        for rows, weight in zip(conditions, self.conditions, strict=True):
            flat.addmm_(rows.reshape(-1, rows.shape[2]), weight.t())
        filter_, gate = total.chunk(2, dim=2)
        return filter_.tanh_(), gate.sigmoid_()


def _shifted(rows: Tensor, dilation: int, kernel_size: int) -> Tensor:
    """Return rows with their neighbours beside them, (B, T, C) -> (B, T, kernel_size * C)."""
    if kernel_size == 1:
        return rows
    reach = dilation * (kernel_size - 1) // 2
    n_rows = rows.shape[1]
    padded = F.pad(rows, (0, 0, reach, reach))
    taps = [padded[:, k * dilation : k * dilation + n_rows] for k in range(kernel_size)]
    return torch.cat(taps, dim=2)
