"""Invertible layers. Every flow obeys one contract:

``forward(x, c) -> (z, logdet)`` maps data to noise, ``inverse(z, c) -> (x, logdet)`` undoes it.
``x`` and ``z`` are (B, C, T), the condition ``c`` is (B, C', T), ``logdet`` is (B,): the natural
log of the absolute determinant of the Jacobian of the map just applied, summed over channels
and time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Flow(nn.Module, ABC):
    """Base of all invertible layers; see the contract at the top of this file."""

    @abstractmethod
    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]: ...


class ActNorm(Flow):
    """Affine map per channel, initialised from the first batch to zero mean and unit variance.

    ``z = scale * (x + loc)`` (Kim et al. 2019, section 3.2; Kingma and Dhariwal 2018). A scale may
    be negative. ``initialized`` is a buffer, so a loaded layer is never initialised again.
    """

    MIN_STD = 1e-4
    """A quieter channel (digital silence) is not scaled up beyond this."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, n_channels, 1))
        self.scale = nn.Parameter(torch.ones(1, n_channels, 1))
        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set location and scale so that ``x`` (B, C, T) maps to zero mean, unit variance."""
        std = x.std(dim=(0, 2), keepdim=True, correction=0)
        self.loc.copy_(-x.mean(dim=(0, 2), keepdim=True))
        self.scale.copy_(1.0 / std.clamp(min=self.MIN_STD))
        self.initialized.fill_(True)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.initialized:
            self.initialize(x)
        z = self.scale * (x + self.loc)
        return z, self._logdet(x)

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x = z / self.scale - self.loc
        return x, -self._logdet(z)

    def _logdet(self, x: Tensor) -> Tensor:
        return (self.scale.abs().log().sum() * x.shape[2]).expand(x.shape[0])


class Coupling(Flow):
    """Affine coupling: the second half of the channels is shifted and scaled given the first.

    ``z_b = (x_b - shift) * exp(-log_scale)`` (Kim et al. 2019, equation 5), where the network maps
    the first half and the condition to both. With ``mean_first`` the network emits (shift,
    log_scale) instead of (log_scale, shift): the order of a factored-out Gaussian prior, which is
    this very map (section 3.3).

    Args:
        network: maps ((B, C / 2, T), condition) to (B, C, T).
        condition_half: 0 or 1 to see only that half of the condition's channels; None to see all.
    """

    def __init__(
        self, network: nn.Module, condition_half: int | None = None, mean_first: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.condition_half = condition_half
        self.mean_first = mean_first

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x_a, x_b = x.chunk(2, dim=1)
        log_scale, shift = self._affine(x_a, c)
        z_b = (x_b - shift) * torch.exp(-log_scale)
        return torch.cat([x_a, z_b], dim=1), -log_scale.sum(dim=(1, 2))

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z_a, z_b = z.chunk(2, dim=1)
        log_scale, shift = self._affine(z_a, c)
        x_b = z_b * torch.exp(log_scale) + shift
        return torch.cat([z_a, x_b], dim=1), log_scale.sum(dim=(1, 2))

    def _affine(self, x_a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        if self.condition_half is not None:
            c = c.chunk(2, dim=1)[self.condition_half]
        # The flow's state keeps its precision even where the network runs in a lower one.
        first, second = self.network(x_a, c).to(x_a.dtype).chunk(2, dim=1)
        return (second, first) if self.mean_first else (first, second)


class ConditionedAffine(Flow):
    """Shift and scale of all channels given the condition alone.

    ``z = (x - shift(c)) * exp(-log_scale(c))``: seen from the noise, a base distribution whose mean
    and variance follow the condition. An extension; the published model does not have it.

    Args:
        network: maps (condition, condition) to (B, 2 * C, T): log_scale, then shift.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(c, c).to(x.dtype).chunk(2, dim=1)
        z = (x - shift) * torch.exp(-log_scale)
        return z, -log_scale.sum(dim=(1, 2))

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(c, c).to(z.dtype).chunk(2, dim=1)
        x = z * torch.exp(log_scale) + shift
        return x, log_scale.sum(dim=(1, 2))


class Flip(Flow):
    """Exchange of the two halves of the channels (Kim et al. 2019, "change order")."""

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x_a, x_b = x.chunk(2, dim=1)
        return torch.cat([x_b, x_a], dim=1), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward(z, c)


class Chain(Flow):
    """Composition: ``forward`` applies the flows in order, ``inverse`` in reverse order."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        super().__init__()
        self.flows = nn.ModuleList(flows)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(x.shape[0])
        for flow in self.flows:
            x, logdet = flow(x, c)
            total = total + logdet
        return x, total

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(z.shape[0])
        for flow in reversed(self.flows):
            z, logdet = flow.inverse(z, c)
            total = total + logdet
        return z, total


class Squeezed(Flow):
    """A flow that works on a signal folded by ``factor``; the result is unfolded again.

    With ``fold_condition`` the condition is folded along; otherwise it already has the lower rate.
    """

    def __init__(self, flow: Flow, factor: int = 2, fold_condition: bool = True) -> None:
        super().__init__()
        self.flow = flow
        self.factor = factor
        self.fold_condition = fold_condition

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.flow(fold(x, self.factor), self._condition(c))
        return unfold(z, self.factor), logdet

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x, logdet = self.flow.inverse(fold(z, self.factor), self._condition(c))
        return unfold(x, self.factor), logdet

    def _condition(self, c: Tensor) -> Tensor:
        return fold(c, self.factor) if self.fold_condition else c


class OnFirstHalf(Flow):
    """A flow that works on the first half of the channels; the second half passes through.

    The second half has been factored out of the multi-scale architecture (Kim et al. 2019, 3.3).
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x_a, x_b = x.chunk(2, dim=1)
        z_a, logdet = self.flow(x_a, c)
        return torch.cat([z_a, x_b], dim=1), logdet

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z_a, z_b = z.chunk(2, dim=1)
        x_a, logdet = self.flow.inverse(z_a, c)
        return torch.cat([x_a, z_b], dim=1), logdet


def fold(x: Tensor, factor: int) -> Tensor:
    """Move time into channels: (B, C, T) -> (B, C * factor, T / factor)."""
    b, c, t = x.shape
    x = x.view(b, c, t // factor, factor)  # (B, C, T) -> (B, C, T / factor, factor)
    return x.permute(0, 1, 3, 2).reshape(b, c * factor, t // factor)


def unfold(x: Tensor, factor: int) -> Tensor:
    """Move channels back into time: (B, C * factor, T / factor) -> (B, C, T)."""
    b, c, t = x.shape
    x = x.view(b, c // factor, factor, t)  # (B, C * factor, T') -> (B, C, factor, T')
    return x.permute(0, 1, 3, 2).reshape(b, c // factor, t * factor)
