"""The almost fair CRPS: equal to its definition, with its gradient, in little memory."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from squall.convgru.loss import CrpsConfig, MaskedL1Config, loss_sums
from tests.convgru.random_ensemble import random_ensemble

NAN = math.nan


def by_definition(members: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Almost fair CRPS from all pairs of members (Lang et al. 2024, equation 4): (B, …)."""
    size = members.shape[1]
    e = (1 - alpha) / size
    x, y = members, target[:, None]
    error = (x - y).abs().mean(dim=1)
    if size == 1:
        return error
    pairs = (x[:, :, None] - x[:, None]).abs().sum(dim=(1, 2))
    return error - (1 - e) * pairs / (2 * size * (size - 1))


@given(
    st.integers(0, 10_000),
    st.integers(1, 9),
    st.sampled_from([0.05, 0.95, 1.0]),
    st.sampled_from([None, 1, 3]),
)
@example(0, 2, 0.95, 1)
def test_crps_and_its_gradients_equal_those_of_the_definition(
    seed: int, size: int, alpha: float, levels: int | None
) -> None:
    members, target, observed = random_ensemble(seed, size, levels)
    fast, slow = (members.clone().requires_grad_() for _ in range(2))
    config = CrpsConfig(alpha=alpha)
    sums = loss_sums(fast, target, target, observed.double(), config)
    expected = (by_definition(slow, target, alpha) * observed).sum()
    assert sums.totals.item() == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)
    assert sums.divisors.item() == observed.sum()
    sums.totals.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad, rtol=0, atol=1e-10)


def test_crps_of_one_member_is_its_absolute_error() -> None:
    members, target, observed = random_ensemble(1, 1)
    crps = loss_sums(members, target, target, observed, CrpsConfig())
    error = loss_sums(members[:, 0], target, target, observed, MaskedL1Config())
    assert crps.totals.item() == pytest.approx(error.totals.item(), rel=1e-12)


def test_crps_of_many_members_of_a_normal_distribution() -> None:
    """Against the closed form for N(0.3, 0.5) (Gneiting and Raftery 2007, equation 21)."""
    mu, sigma, size = 0.3, 0.5, 20_001
    quantiles = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    y = torch.tensor([-1.0, 0.3, 0.45, 2.0], dtype=torch.float64)
    members = (mu + sigma * quantiles)[None, :, None].expand(1, -1, 4)
    z = (y - mu) / sigma
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    expected = sigma * (z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    for pixel in range(4):
        observed = torch.arange(4)[None] == pixel
        sums = loss_sums(members, y[None], y[None], observed, CrpsConfig(alpha=1.0))
        assert sums.totals.item() == pytest.approx(expected[pixel].item(), rel=2e-4)


def test_the_fair_crps_of_few_members_is_unbiased_and_the_almost_fair_crps_nearly() -> None:
    """The mean over many ensembles of 3 equals the expectation for a normal distribution."""
    generator = torch.Generator().manual_seed(5)
    draws = 400_000
    members = torch.randn(draws, 3, 1, generator=generator, dtype=torch.float64)
    y = torch.randn(draws, 1, generator=generator, dtype=torch.float64)

    def score(alpha: float) -> float:
        everywhere = torch.ones_like(y)
        sums = loss_sums(members, y, y, everywhere, CrpsConfig(alpha=alpha))
        return sums.totals.item() / draws

    expected = 1 / math.sqrt(math.pi)  # E|X - Y| - E|X - X'| / 2 with E|X - X'| = 2 / sqrt(pi)
    bias = expected / 3  # of the standard CRPS: E|X - X'| / (2 M)
    assert score(1.0) == pytest.approx(expected, abs=0.003)
    assert score(0.95) - score(1.0) == pytest.approx(0.05 * bias, rel=0.01)
    assert score(1e-9) - score(1.0) == pytest.approx(bias, rel=0.01)


def test_tied_members_have_equal_gradients() -> None:
    members = torch.zeros(1, 4, 1, 1, 2, 2, requires_grad=True)
    target = torch.tensor([-1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 1, 2, 2)
    loss_sums(members, target, target, torch.ones_like(target), CrpsConfig()).totals.backward()
    expected = torch.tensor([0.25, 0.0, -0.25, -0.25]).reshape(2, 2).expand_as(members)
    torch.testing.assert_close(members.grad, expected)


def test_crps_is_exact_where_the_sums_of_the_definition_nearly_cancel() -> None:
    """Members and target at 1000 with a spread of one step of float32."""
    step = 2.0**-14
    members = 1000 + step * torch.tensor([0.0, 1.0, 1.0, 2.0]).reshape(1, 4, 1)
    target = torch.full((1, 1), 1000 + step)
    sums = loss_sums(members, target, target, torch.ones(1, 1), CrpsConfig(alpha=1.0))
    # mean of |x - y|: 2 / 4 steps; sum over j, k of |x_j - x_k|: 12 steps, / (2 * 4 * 3) = 1/2
    assert sums.totals.item() == pytest.approx(0.0, abs=1e-9 * step)
    almost = loss_sums(members, target, target, torch.ones(1, 1), CrpsConfig(alpha=0.95))
    # the share e = 0.0125 of the 1/2 step is not subtracted
    assert almost.totals.item() == pytest.approx(0.0125 * 0.5 * step, rel=1e-5)


def test_crps_with_nothing_observed_is_0_with_zero_gradients() -> None:
    members = torch.full((2, 3, 1, 1, 4, 4), NAN, requires_grad=True)
    target = torch.full((2, 1, 1, 4, 4), NAN)
    sums = loss_sums(members, target, target, torch.zeros_like(target), CrpsConfig())
    sums.totals.backward()
    assert sums.totals.item() == sums.divisors.item() == 0
    assert torch.equal(members.grad, torch.zeros_like(members))


def test_crps_under_autocast_equals_the_crps_in_float32() -> None:
    members, target, observed = random_ensemble(3, 5)
    halves = members.bfloat16().requires_grad_()
    target = target.float()
    plain = loss_sums(members.bfloat16().float(), target, target, observed, CrpsConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = loss_sums(halves, target, target, observed, CrpsConfig())
    sums.totals.backward()
    assert sums.totals.dtype == torch.float32
    assert sums.totals.item() == plain.totals.item()
    assert halves.grad.dtype == torch.bfloat16


def saved_bytes(size: int) -> int:
    """Bytes that autograd keeps for the CRPS of ``size`` members."""
    members = torch.rand(2, size, 4, 1, 16, 16, requires_grad=True)
    target = torch.rand(2, 4, 1, 16, 16)
    saved_storages: dict[int, Tensor] = {}

    def pack(saved: Tensor) -> Tensor:
        saved_storages[saved.untyped_storage().data_ptr()] = saved
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        sums = loss_sums(members, target, target, torch.ones_like(target), CrpsConfig())
    sums.totals.backward()
    return sum(saved.untyped_storage().nbytes() for saved in saved_storages.values())


def test_memory_grows_with_the_members_not_with_their_pairs() -> None:
    target_bytes = 2 * 4 * 16 * 16 * 4
    two, sixteen = saved_bytes(2), saved_bytes(16)
    assert sixteen - two <= 14 * target_bytes
    assert sixteen <= 17 * target_bytes
