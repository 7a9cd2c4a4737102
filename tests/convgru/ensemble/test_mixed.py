"""Ensembles with members of both kinds."""

import numpy as np
import pytest
import torch

from squall.convgru.ensemble import (
    EnsembleRun,
    EnsembleSettings,
    marginal_members,
    mixed_members,
    stochastic_members,
)
from squall.convgru.ensemble.mixed import is_marginal
from squall.convgru.thresholds import THRESHOLDS_MM_H

TIME = np.datetime64("2024-06-01T12:00")
LEADS = 3


def run(share=0.5, **changes):
    settings = EnsembleSettings(marginal_share=share)
    return EnsembleRun(5.0, 1.0, **{"reference_time": TIME, "settings": settings} | changes)


@pytest.fixture(scope="module")
def scans():
    """(T, H, W) mm/h: two showers that move."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(72.0), indexing="ij")
    fields = []
    for step in range(4):
        place = columns - 20 - 2 * step
        near = torch.exp(-((rows - 30) ** 2 + place**2) / 80)
        far = torch.exp(-((rows - 12) ** 2 + (place - 25) ** 2) / 30)
        fields.append(8 * near + 4 * far)
    return torch.stack(fields)


@pytest.fixture(scope="module")
def chances(scans):
    """(K, H, W), the same at all lead times; not known in the last column."""
    logarithm = scans[-1].clamp(min=0.02).log()
    of_thresholds = [torch.sigmoid(2 * (logarithm - np.log(t))) for t in THRESHOLDS_MM_H]
    result = torch.stack(of_thresholds)
    result[:, :, -1] = torch.nan
    return result


def mixed(scans, chances, members, of_run):
    leads = mixed_members(scans, iter([chances] * LEADS), LEADS, members, of_run)
    return torch.stack(list(leads))


def test_each_member_is_that_of_its_kind_with_the_same_number(scans, chances):
    made = mixed(scans, chances, 9, run())
    stochastic = torch.stack(list(stochastic_members(scans, LEADS, 9, run())))
    marginal = torch.stack(list(marginal_members(scans, [chances] * LEADS, 9, run())))
    known = ~(stochastic[:, :1].isnan() | marginal[:, :1].isnan()).expand_as(made)
    assert torch.equal(~made.isnan(), known)
    kinds = [is_marginal(member, run()) for member in range(9)]
    assert set(kinds) == {True, False}
    for member, kind in enumerate(kinds):
        of_kind = (marginal if kind else stochastic)[:, member]
        here = known[:, member]
        assert torch.equal(made[:, member][here], of_kind[here])


def test_a_member_is_the_same_in_a_larger_ensemble(scans, chances):
    few, many = (mixed(scans, chances, count, run()) for count in (5, 12))
    torch.testing.assert_close(few, many[:, :5], equal_nan=True, rtol=0, atol=0)


def test_the_share_is_that_of_the_settings_and_kinds_are_drawn_anew_each_time():
    for share in (0.0, 0.25, 0.5, 1.0):
        kinds = [is_marginal(member, run(share)) for member in range(2000)]
        assert np.mean(kinds) == pytest.approx(share, abs=0.04)
        # independent: two neighbours are alike as often as chance has it
        alike = np.mean(np.equal(kinds[:-1], kinds[1:]))
        assert alike == pytest.approx(share**2 + (1 - share) ** 2, abs=0.04)
    later = run(reference_time=TIME + np.timedelta64(5, "m"))
    first = [is_marginal(member, run()) for member in range(50)]
    assert first != [is_marginal(member, later) for member in range(50)]
    assert first != [is_marginal(member, run(seed=1)) for member in range(50)]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_members_of_one_kind_alone(share, scans, chances):
    made = mixed(scans, chances, 2, run(share))
    if share:
        alone = marginal_members(scans, [chances] * LEADS, 2, run(share))
    else:
        alone = stochastic_members(scans, LEADS, 2, run(share))
    torch.testing.assert_close(made, torch.stack(list(alone)), equal_nan=True, rtol=0, atol=0)


def test_members_with_given_numbers_are_those_of_a_larger_ensemble(scans, chances):
    every = torch.stack(list(stochastic_members(scans, LEADS, 7, run())))
    some = torch.stack(list(stochastic_members(scans, LEADS, [1, 4, 6], run())))
    torch.testing.assert_close(some, every[:, [1, 4, 6]], equal_nan=True, rtol=0, atol=0)


def test_no_member_is_an_error(scans, chances):
    for members in (0, -1):
        with pytest.raises(ValueError, match="give 1 or more"):
            mixed(scans, chances, members, run())
