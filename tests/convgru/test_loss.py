"""The training losses: sums over what was observed, and nothing else."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from squall.convgru.loss import (
    BalancedLossConfig,
    CrpsConfig,
    LossConfig,
    MaskedL1Config,
    loss_sums,
)
from squall.convgru.scaling import RainScaling

LOSS: TypeAdapter[LossConfig] = TypeAdapter(LossConfig)
CONFIG = BalancedLossConfig()
NAN = math.nan

# rain rate [mm/h]   normalised target   predicted      weight   error²+|error|
#   1    2             0.25  0.5          0.5   0.25     1  2     0.3125  0.3125
#   7    NaN           0.75  0            1.25  9        5  -     0.75    -
# (1 * 0.3125 + 2 * 0.3125 + 5 * 0.75) / 3 = 1.5625
RATE = torch.tensor([[1.0, 2.0], [7.0, NAN]])
TARGET = torch.tensor([[0.25, 0.5], [0.75, 0.0]])
PREDICTED = torch.tensor([[0.5, 0.25], [1.25, 9.0]])
OBSERVED = torch.tensor([[1.0, 1.0], [1.0, 0.0]])


def mean(
    predicted: Tensor,
    target: Tensor,
    rate: Tensor,
    observed: Tensor,
    config: LossConfig = CONFIG,
) -> Tensor:
    """The loss as it is trained with."""
    return loss_sums(predicted, target, rate, observed, config).value()


def loss(predicted: Tensor, rate: Tensor, config: LossConfig = CONFIG) -> Tensor:
    """Loss against a rain rate with NaN, through the scaling."""
    target, observed = RainScaling().normalise(rate)
    return mean(predicted, target, rate, observed, config)


def random_fields(seed: int) -> tuple[Tensor, Tensor]:
    """Predicted and rain rate of (4, 6, 6); every fourth pixel or so is not observed."""
    generator = torch.Generator().manual_seed(seed)
    rate = 40 * torch.rand(4, 6, 6, generator=generator) ** 3
    rate[torch.rand(4, 6, 6, generator=generator) < 0.25] = NAN
    return torch.rand(4, 6, 6, generator=generator), rate


def test_a_hand_worked_grid() -> None:
    assert mean(PREDICTED, TARGET, RATE, OBSERVED, CONFIG).item() == 1.5625


def test_shares_of_both_errors() -> None:
    squared = BalancedLossConfig(mse=2.0, mae=0.0)
    # 2 * (1 * 0.0625 + 2 * 0.0625 + 5 * 0.25) / 3
    found = mean(PREDICTED, TARGET, RATE, OBSERVED, squared)
    assert found.item() == pytest.approx(2.875 / 3)


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(0.0, 1), (1.9999, 1), (2.0, 2), (4.9999, 2), (5.0, 5), (10.0, 10), (29.99, 10), (30.0, 30)],
)
def test_weights_step_at_their_thresholds(rate: float, weight: float) -> None:
    ones = torch.ones(1)
    found = mean(ones, torch.zeros(1), torch.tensor([rate]), ones, CONFIG)
    assert found.item() == 2 * weight


def test_nothing_observed_is_no_loss_with_zero_gradients() -> None:
    predicted = torch.full((2, 3), 0.5, requires_grad=True)
    value = loss(predicted, torch.full((2, 3), NAN))
    value.backward()
    assert value.item() == 0
    assert torch.equal(predicted.grad, torch.zeros(2, 3))


def test_missing_targets_never_reach_gradients() -> None:
    predicted, rate = random_fields(1)
    predicted.requires_grad_()
    loss(predicted, rate).backward()
    assert predicted.grad.isfinite().all()
    assert torch.equal(predicted.grad == 0, rate.isnan())


def test_nan_in_the_normalised_target_is_masked_too() -> None:
    predicted = PREDICTED.clone().requires_grad_()
    target = torch.where(OBSERVED.bool(), TARGET, NAN)
    value = mean(predicted, target, RATE, OBSERVED, CONFIG)
    value.backward()
    assert value.item() == 1.5625
    assert predicted.grad.isfinite().all()


@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from(["balanced", "masked_l1"]))
def test_sums_of_parts_add_up_to_the_whole(seed: int, cut: int, kind: str) -> None:
    predicted, rate = random_fields(seed)
    target, observed = RainScaling().normalise(rate)
    config = LOSS.validate_python({"kind": kind})

    def sums(part: slice) -> tuple[float, int]:
        found = loss_sums(predicted[part], target[part], rate[part], observed[part], config)
        return found.totals.item(), int(found.divisors)

    parts = [sums(slice(0, cut)), sums(slice(cut, None))]
    whole = sums(slice(None))
    assert whole[0] == pytest.approx(parts[0][0] + parts[1][0], rel=1e-5)
    assert whole[1] == parts[0][1] + parts[1][1] == int((~rate.isnan()).sum())


def test_half_precision_predictions_are_compared_in_full() -> None:
    value = mean(PREDICTED.bfloat16(), TARGET, RATE, OBSERVED, CONFIG)
    assert value.dtype == torch.float32
    assert value.item() == 1.5625


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": (1.0, 2.0)}, "4 thresholds_mm_h need 5 weights, got 2"),
        ({"thresholds_mm_h": (5.0, 2.0, 10.0, 30.0)}, "must rise"),
        ({"thresholds_mm_h": (2.0, 2.0, 10.0, 30.0)}, "must rise"),
        ({"weights": (1.0, -2.0, 5.0, 10.0, 30.0)}, "0 or more"),
        ({"weights": (0.0,) * 5}, "not all 0"),
        ({"mse": 0.0, "mae": 0.0}, "would learn nothing"),
        ({"mse": -1.0}, "greater than or equal to 0"),
        ({"mea": 1.0}, "mea"),
        ({"kind": "mse"}, "kind must be balanced, masked_l1, crps or skill"),
        ({"kind": "masked_l1", "mse": 1.0}, "mse"),
        ({"kind": "crps", "alpha": 0.0}, "greater than 0"),
        ({"kind": "crps", "alpha": 1.1}, "less than or equal to 1"),
        ({"kind": "crps", "members": 1}, "greater than or equal to 2"),
    ],
)
def test_configurations_that_cannot_work_are_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        LOSS.validate_python(values)


def test_one_weight_for_all_needs_no_threshold() -> None:
    config = BalancedLossConfig(thresholds_mm_h=(), weights=(1.0,))
    # (0.3125 + 0.3125 + 0.75) / 3
    found = mean(PREDICTED, TARGET, RATE, OBSERVED, config)
    assert found.item() == pytest.approx(1.375 / 3)


def test_masked_l1_is_the_mean_absolute_error_where_observed() -> None:
    found = loss_sums(PREDICTED, TARGET, RATE, OBSERVED, MaskedL1Config())
    assert found.totals.item() == 0.25 + 0.25 + 0.5
    assert found.divisors.item() == 3


@pytest.mark.parametrize(
    ("values", "config"),
    [
        ({}, BalancedLossConfig()),
        ({"mse": 2.0}, BalancedLossConfig(mse=2.0)),
        ({"kind": "balanced", "mse": 2.0}, BalancedLossConfig(mse=2.0)),
        ({"kind": "masked_l1"}, MaskedL1Config()),
        ({"kind": "crps", "alpha": 1.0}, CrpsConfig(alpha=1.0)),
    ],
)
def test_a_configuration_names_its_kind_or_is_balanced(
    values: dict[str, object], config: LossConfig
) -> None:
    found = LOSS.validate_python(values)
    assert found == config
    assert LOSS.validate_python(LOSS.dump_python(found, mode="json")) == config
    assert LOSS.validate_python(found) is found


def by_definition(members: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Almost fair CRPS, equation 4 of Lang et al. (2024), all pairs of members: (B, ...)."""
    size = members.shape[1]
    e = (1 - alpha) / size
    x, y = members, target[:, None]
    error = (x - y).abs().mean(dim=1)
    if size == 1:
        return error
    pairs = (x[:, :, None] - x[:, None]).abs().sum(dim=(1, 2))
    return error - (1 - e) * pairs / (2 * size * (size - 1))


def ensemble(seed: int, members: int, levels: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Members (2, M, 3, 1, 4, 5), target and observed; `levels` few values give ties."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, members, 3, 1, 4, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 3, 1, 4, 5, generator=generator, dtype=torch.float64)
    if levels:
        x, y = ((v * levels).round() / levels for v in (x, y))
    return x, y, torch.rand(y.shape, generator=generator) < 0.7


@given(
    st.integers(0, 10_000),
    st.integers(1, 9),
    st.sampled_from([0.05, 0.95, 1.0]),
    st.sampled_from([None, 1, 3]),
)
@example(0, 2, 0.95, 1)
def test_crps_is_that_of_the_definition_with_its_gradients(
    seed: int, size: int, alpha: float, levels: int | None
) -> None:
    members, target, observed = ensemble(seed, size, levels)
    fast, slow = (members.clone().requires_grad_() for _ in range(2))
    config = CrpsConfig(alpha=alpha)
    found = loss_sums(fast, target, target, observed.double(), config)
    expected = (by_definition(slow, target, alpha) * observed).sum()
    assert found.totals.item() == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)
    assert found.divisors.item() == observed.sum()
    found.totals.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad, rtol=0, atol=1e-10)


def test_crps_of_one_member_is_its_absolute_error() -> None:
    members, target, observed = ensemble(1, 1)
    crps = loss_sums(members, target, target, observed, CrpsConfig())
    error = loss_sums(members[:, 0], target, target, observed, MaskedL1Config())
    assert crps.totals.item() == pytest.approx(error.totals.item(), rel=1e-12)


def test_crps_of_many_members_of_a_normal_distribution() -> None:
    """Gneiting and Raftery (2007), equation 21, for N(0.3, 0.5) and some observations."""
    mu, sigma, size = 0.3, 0.5, 20_001
    quantiles = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    y = torch.tensor([-1.0, 0.3, 0.45, 2.0], dtype=torch.float64)
    members = (mu + sigma * quantiles)[None, :, None].expand(1, -1, 4)
    z = (y - mu) / sigma
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    closed = sigma * (z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    for pixel in range(4):
        only = torch.arange(4)[None] == pixel
        found = loss_sums(members, y[None], y[None], only, CrpsConfig(alpha=1.0))
        assert found.totals.item() == pytest.approx(closed[pixel].item(), rel=2e-4)


def test_the_fair_crps_of_few_members_is_unbiased_and_the_almost_fair_one_nearly() -> None:
    """Mean over many ensembles of 3 against the expectation of the normal distribution."""
    generator = torch.Generator().manual_seed(5)
    draws = 400_000
    members = torch.randn(draws, 3, 1, generator=generator, dtype=torch.float64)
    y = torch.randn(draws, 1, generator=generator, dtype=torch.float64)

    def score(alpha: float) -> float:
        everywhere = torch.ones_like(y)
        found = loss_sums(members, y, y, everywhere, CrpsConfig(alpha=alpha))
        return found.totals.item() / draws

    expected = 1 / math.sqrt(math.pi)  # E|X - Y| - E|X - X'| / 2 with E|X - X'| = 2 / sqrt(pi)
    bias = expected / 3  # of the usual CRPS: E|X - X'| / (2 M)
    assert score(1.0) == pytest.approx(expected, abs=0.003)
    assert score(0.95) - score(1.0) == pytest.approx(0.05 * bias, rel=0.01)
    assert score(1e-9) - score(1.0) == pytest.approx(bias, rel=0.01)


def test_tied_members_are_moved_alike() -> None:
    members = torch.zeros(1, 4, 1, 1, 2, 2, requires_grad=True)
    target = torch.tensor([-1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 1, 2, 2)
    loss_sums(members, target, target, torch.ones_like(target), CrpsConfig()).totals.backward()
    expected = torch.tensor([0.25, 0.0, -0.25, -0.25]).reshape(2, 2).expand_as(members)
    torch.testing.assert_close(members.grad, expected)


def test_crps_is_in_full_precision_where_the_two_sums_nearly_cancel() -> None:
    """Members and target at 1000 with a spread of one step of float32."""
    step = 2.0**-14
    members = 1000 + step * torch.tensor([0.0, 1.0, 1.0, 2.0]).reshape(1, 4, 1)
    target = torch.full((1, 1), 1000 + step)
    found = loss_sums(members, target, target, torch.ones(1, 1), CrpsConfig(alpha=1.0))
    # |x - y|: mean 2/4 steps; pairs: sum over j, k of |x_j - x_k| = 12 steps, / (2 * 4 * 3) = 1/2
    assert found.totals.item() == pytest.approx(0.0, abs=1e-9 * step)
    almost = loss_sums(members, target, target, torch.ones(1, 1), CrpsConfig(alpha=0.95))
    # e = 0.0125 of these 1/2 steps stays
    assert almost.totals.item() == pytest.approx(0.0125 * 0.5 * step, rel=1e-5)


@pytest.mark.parametrize("kind", ["balanced", "masked_l1", "crps"])
def test_whatever_is_not_observed_enters_neither_value_nor_gradient(kind: str) -> None:
    config = LOSS.validate_python({"kind": kind})
    members, target, observed = ensemble(7, 3)
    members = members if kind == "crps" else members[:, 0]
    mask = observed[:, None] if kind == "crps" else observed
    spoilt = members.clone()
    spoilt[~mask.expand_as(spoilt)] = (
        torch.tensor([NAN, math.inf, -math.inf])
        .repeat(int((~mask.expand_as(spoilt)).sum()) // 3 + 1)[
            : int((~mask.expand_as(spoilt)).sum())
        ]
        .double()
    )
    clean, spoilt = members.clone().requires_grad_(), spoilt.requires_grad_()
    whole = loss_sums(clean, target, target, observed, config)
    gaps = torch.where(observed, target, NAN)
    found = loss_sums(spoilt, gaps, gaps, observed, config)
    assert found.totals.item() == whole.totals.item()
    whole.totals.backward()
    found.totals.backward()
    assert torch.equal(spoilt.grad, clean.grad)
    assert (spoilt.grad[~mask.expand_as(spoilt)] == 0).all()


def test_crps_with_nothing_observed_is_0_with_zero_gradients() -> None:
    members = torch.full((2, 3, 1, 1, 4, 4), NAN, requires_grad=True)
    target = torch.full((2, 1, 1, 4, 4), NAN)
    found = loss_sums(members, target, target, torch.zeros_like(target), CrpsConfig())
    found.totals.backward()
    assert found.totals.item() == found.divisors.item() == 0
    assert torch.equal(members.grad, torch.zeros_like(members))


@pytest.mark.parametrize("kind", ["balanced", "masked_l1", "crps"])
def test_a_forecast_of_nan_where_observed_is_no_small_loss(kind: str) -> None:
    members, target, _ = ensemble(7, 3)
    members[0, 1, 0, 0, 0, 0] = members[0, 0, 0, 0, 0, 0] = NAN
    predicted = members if kind == "crps" else members[:, 0]
    config = LOSS.validate_python({"kind": kind})
    found = loss_sums(predicted, target, target, torch.ones_like(target), config)
    assert math.isnan(found.totals.item())


def test_crps_under_autocast_is_that_in_float32() -> None:
    members, target, observed = ensemble(3, 5)
    halves = members.bfloat16().requires_grad_()
    target = target.float()
    plain = loss_sums(members.bfloat16().float(), target, target, observed, CrpsConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_sums(halves, target, target, observed, CrpsConfig())
    found.totals.backward()
    assert found.totals.dtype == torch.float32
    assert found.totals.item() == plain.totals.item()
    assert halves.grad.dtype == torch.bfloat16


def saved_bytes(size: int) -> int:
    """Memory that autograd keeps for the CRPS of `size` members."""
    members = torch.rand(2, size, 4, 1, 16, 16, requires_grad=True)
    target = torch.rand(2, 4, 1, 16, 16)
    kept: dict[int, Tensor] = {}

    def pack(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage().data_ptr()] = saved
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        found = loss_sums(members, target, target, torch.ones_like(target), CrpsConfig())
    found.totals.backward()
    return sum(saved.untyped_storage().nbytes() for saved in kept.values())


def test_memory_of_the_crps_grows_with_the_members_not_with_their_pairs() -> None:
    of_target = 2 * 4 * 16 * 16 * 4
    two, sixteen = saved_bytes(2), saved_bytes(16)
    assert sixteen - two <= 14 * of_target
    assert sixteen <= 17 * of_target


MEMBERS = torch.zeros(2, 3, 4, 1, 5, 6)
FIELD = torch.zeros(2, 4, 1, 5, 6)


@pytest.mark.parametrize(
    ("kind", "predicted", "message"),
    [
        ("balanced", MEMBERS, "'balanced' needs one prediction .* for members choose"),
        ("masked_l1", MEMBERS, r"\(2, 4, 1, 5, 6\), got \(2, 3, 4, 1, 5, 6\)"),
        ("crps", FIELD, r"needs members in dimension 1: .* got \(2, 4, 1, 5, 6\)"),
        ("crps", MEMBERS.transpose(0, 1), "needs members in dimension 1"),
        ("crps", MEMBERS[:, :0], "needs members"),
        ("balanced", FIELD[:1], "needs one prediction"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(kind: str, predicted: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_sums(predicted, FIELD, FIELD, FIELD, LOSS.validate_python({"kind": kind}))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        loss_sums(FIELD, FIELD, FIELD, FIELD[:, :1], CONFIG)
