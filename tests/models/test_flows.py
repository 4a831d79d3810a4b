"""Every flow is one row of one table: round trip, opposite logdets, autograd Jacobian."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fwn_vocoder.models.flows import (
    ActNorm,
    Chain,
    ConditionedAffine,
    Coupling,
    Flip,
    OnFirstHalf,
    Squeezed,
    fold,
    unfold,
)
from fwn_vocoder.models.wavenet import WaveNet
from tests.conftest import randomize


def wavenet(n_in, n_out, n_condition):
    return WaveNet(n_in, n_out, n_condition, channels=6, n_layers=2, kernel_size=3)


def coupling(channels, condition):
    return Coupling(wavenet(channels // 2, channels, condition))


# name: (flow, channels, condition channels, condition frames for 8 time steps)
FLOWS = {
    "actnorm": (lambda: ActNorm(4), 4, 3, 8),
    "coupling": (lambda: coupling(4, 3), 4, 3, 8),
    "coupling_condition_half": (lambda: Coupling(wavenet(2, 4, 2), condition_half=1), 4, 4, 8),
    "prior": (lambda: Coupling(wavenet(2, 4, 3), mean_first=True), 4, 3, 8),
    "conditioned_affine": (lambda: ConditionedAffine(wavenet(3, 8, 3)), 4, 3, 8),
    "flip": (Flip, 4, 3, 8),
    "chain": (lambda: Chain([ActNorm(4), coupling(4, 3), Flip()]), 4, 3, 8),
    "squeezed": (lambda: Squeezed(coupling(4, 6)), 2, 3, 8),
    "squeezed_by_4": (lambda: Squeezed(coupling(4, 3), 4, fold_condition=False), 1, 3, 2),
    "on_first_half": (lambda: OnFirstHalf(coupling(2, 3)), 4, 3, 8),
    "multi_scale": (
        lambda: Squeezed(Chain([coupling(4, 6), Flip(), OnFirstHalf(Squeezed(coupling(4, 12)))])),
        2,
        3,
        8,
    ),
}


def build(name, seed=0):
    make, channels, condition_channels, frames = FLOWS[name]
    torch.manual_seed(seed)
    flow = randomize(make().double(), seed, scale=0.3).eval()
    x = torch.randn(2, channels, 8, dtype=torch.float64)
    c = torch.randn(2, condition_channels, frames, dtype=torch.float64)
    return flow, x, c


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("seed", range(3))
def test_round_trip(name, seed):
    flow, x, c = build(name, seed)
    z, logdet = flow(x, c)
    back, inverse_logdet = flow.inverse(z, c)
    assert z.shape == x.shape
    assert logdet.shape == inverse_logdet.shape == (2,)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(logdet + inverse_logdet, torch.zeros_like(logdet), atol=1e-9, rtol=0)
    if name != "flip":
        assert not torch.allclose(z, x)


@pytest.mark.parametrize("name", FLOWS)
def test_logdet_is_that_of_the_jacobian(name):
    flow, x, c = build(name)
    x, c = x[:1], c[:1]
    jacobian = torch.autograd.functional.jacobian(
        lambda v: flow(v.view_as(x), c)[0].flatten(), x.flatten()
    )
    _, logdet = flow(x, c)
    torch.testing.assert_close(jacobian.slogdet().logabsdet, logdet[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["coupling", "multi_scale", "actnorm"])
def test_items_of_a_batch_do_not_mix(name):
    flow, x, c = build(name)
    _, together = flow(x, c)
    alone = torch.cat([flow(x[i : i + 1], c[i : i + 1])[1] for i in range(2)])
    torch.testing.assert_close(together, alone)


def test_coupling_and_prior_order_of_outputs():
    """A coupling's network emits (log_scale, shift), a prior's (mean, log_sd)."""

    class Fixed(torch.nn.Module):
        def forward(self, x, c):
            return torch.cat([torch.full_like(x, 0.5), torch.full_like(x, 2.0)], dim=1)

    x = torch.zeros(1, 2, 4, dtype=torch.float64)
    c = torch.zeros(1, 1, 4)
    z, logdet = Coupling(Fixed())(x, c)
    assert torch.allclose(z[:, 1], torch.tensor(-2.0).double() * torch.exp(torch.tensor(-0.5)))
    assert logdet.item() == pytest.approx(-0.5 * 4)
    z, logdet = Coupling(Fixed(), mean_first=True)(x, c)
    assert torch.allclose(z[:, 1], torch.tensor(-0.5).double() * torch.exp(torch.tensor(-2.0)))
    assert logdet.item() == pytest.approx(-2.0 * 4)


def test_actnorm_initialises_once_and_remembers():
    flow = ActNorm(3).double().train()
    x = 5 + 2 * torch.randn(4, 3, 100, dtype=torch.float64)
    z, _ = flow(x, x)
    torch.testing.assert_close(z.mean(dim=(0, 2)), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(z.std(dim=(0, 2), correction=0), torch.ones(3).double())
    restored = ActNorm(3).double().train()
    restored.load_state_dict(flow.state_dict())
    torch.testing.assert_close(restored(x + 7, x)[0], flow.eval()(x + 7, x)[0])


def test_actnorm_survives_silence():
    flow = ActNorm(2).train()
    flow(torch.zeros(1, 2, 8), torch.zeros(1, 1, 8))
    assert flow.scale.max().item() == pytest.approx(1 / ActNorm.MIN_STD)


def test_actnorm_does_not_initialise_in_evaluation():
    flow = ActNorm(2).eval()
    flow(torch.randn(1, 2, 8), torch.zeros(1, 1, 8))
    assert not flow.initialized


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_unfold_undoes_fold(channels, factor, frames):
    x = torch.randn(2, channels, factor * frames)
    assert torch.equal(unfold(fold(x, factor), factor), x)


def test_fold_keeps_neighbours_in_one_step():
    x = torch.arange(8.0).view(1, 1, 8)
    assert fold(x, 2)[0].tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
