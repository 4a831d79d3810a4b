"""The non-causal WaveNet that drives couplings and priors (Kim et al. 2019, section 3.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class WaveNet(nn.Module):
    """Gated dilated convolutions with a condition, residual and skip connections.

    The last convolution starts at zero and has a learned gain, so a new coupling is the identity.
    Filter and gate are one convolution, residual and skip another; the last layer, whose residual
    output would go nowhere, has a skip output only.

    Shapes: x (B, in_channels, T), c (B, condition_channels, T) -> (B, out_channels, T).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        condition_channels: int,
        channels: int,
        n_layers: int,
        kernel_size: int,
    ) -> None:
        super().__init__()
        self.front = _conv(in_channels, channels, kernel_size)
        self.layers = nn.ModuleList(
            GatedLayer(
                channels, condition_channels, kernel_size, 2**i, has_residual=i < n_layers - 1
            )
            for i in range(n_layers)
        )
        self.head = _conv(channels, channels, 1)
        self.out = ZeroConv1d(channels, out_channels)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        hidden = torch.relu(self.front(x))
        skip_sum = torch.zeros((), dtype=hidden.dtype, device=hidden.device)
        for layer in self.layers:
            hidden, skip = layer(hidden, c)
            skip_sum = skip_sum + skip
        return self.out(torch.relu(self.head(torch.relu(skip_sum))))


class GatedLayer(nn.Module):
    """One dilated layer: ``tanh(filter) * sigmoid(gate)``, then residual and skip projections."""

    def __init__(
        self,
        channels: int,
        condition_channels: int,
        kernel_size: int,
        dilation: int,
        has_residual: bool,
    ) -> None:
        super().__init__()
        self.filter_gate = _conv(channels, 2 * channels, kernel_size, dilation)
        self.condition = _conv(condition_channels, 2 * channels, 1)
        self.projection = _conv(channels, 2 * channels if has_residual else channels, 1)
        self.has_residual = has_residual

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input of the next layer and the skip output, (B, channels, T) each."""
        filter_, gate = (self.filter_gate(x) + self.condition(c)).chunk(2, dim=1)
        projected = self.projection(torch.tanh(filter_) * torch.sigmoid(gate))
        if not self.has_residual:
            return x, projected
        residual, skip = projected.chunk(2, dim=1)
        return (x + residual) * math.sqrt(0.5), skip


class ZeroConv1d(nn.Module):
    """A 1x1 convolution that starts at zero, with a learned gain ``exp(3 * scale)`` per channel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, 1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        self.scale = nn.Parameter(torch.zeros(1, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * torch.exp(3.0 * self.scale)


def _conv(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> nn.Conv1d:
    """Return a weight-normalised convolution that keeps the length."""
    conv = nn.Conv1d(
        in_channels,
        out_channels,
        kernel_size,
        dilation=dilation,
        padding=dilation * (kernel_size - 1) // 2,
    )
    nn.init.kaiming_normal_(conv.weight)
    return weight_norm(conv)
