"""Members drawn from chances: their distribution at each pixel, and what they keep."""

import numpy as np
import pytest
import torch

from squall.convgru.distribution import chances_of_reaching
from squall.convgru.ensemble import marginal_members
from squall.convgru.thresholds import THRESHOLDS_MM_H
from tests.convgru.ensemble.evolving_rain import (
    TIME,
    check_that_a_member_does_not_depend_on_the_number,
    evolving_rain,
    run,
)


def chances_of(scans: torch.Tensor, leads: int) -> list[torch.Tensor]:
    """Made-up chances that differ from pixel to pixel and fall with the threshold."""
    smooth = torch.nn.functional.avg_pool2d(scans[-1:].nan_to_num(0), 9, 1, 4)[0]
    result = []
    for lead in range(1, leads + 1):
        logits = [
            (1.5 - 0.1 * lead) * (smooth.clamp(min=0.05).log() - np.log(threshold))
            for threshold in THRESHOLDS_MM_H
        ]
        chances = torch.sigmoid(torch.stack(logits))
        chances[:, :, -3 * lead :] = torch.nan
        result.append(chances)
    return result


def members_of(scans: torch.Tensor, leads: int, members: int, **options) -> torch.Tensor:
    """(L, M, H, W)"""
    chances = chances_of(scans, leads)
    return torch.stack(list(marginal_members(scans, chances, members, run(**options))))


@pytest.mark.parametrize("columns", [0, 3])
def test_the_share_of_members_converges_to_the_chance_at_each_pixel(columns):
    scans = evolving_rain(side=40, columns=columns)
    scans[:, 24:, :12] = torch.nan
    count = 2000
    members = members_of(scans, 3, count)
    asked = (0.2, 0.5, 1.0, 2.0, 5.0, 8.0)
    for rain, chances in zip(members, chances_of(scans, 3), strict=True):
        expected = chances_of_reaching(chances, asked)
        for threshold, chance in zip(asked, expected, strict=True):
            share = (rain >= threshold).float().mean(dim=0)
            known = ~chance.isnan()
            error = (share - chance)[known]
            allowed = 0.02 + 4.5 * (chance * (1 - chance) / count).sqrt()[known]
            assert (error.abs() < allowed).all(), threshold
            assert abs(error.mean()) < 0.006, threshold


def test_members_are_known_where_the_chances_are():
    scans = evolving_rain(side=40)
    members = members_of(scans, 2, 3)
    for rain, chances in zip(members, chances_of(scans, 2), strict=True):
        assert torch.equal(rain.isnan(), chances[0].isnan().expand_as(rain))
        assert chances[0].isnan().any()


def test_a_member_does_not_depend_on_the_number_of_members(monkeypatch):
    check_that_a_member_does_not_depend_on_the_number(members_of, monkeypatch)


def test_seed_and_reference_time_change_all_members():
    scans = evolving_rain(side=64)
    first = members_of(scans, 1, 2)
    for other in ({"seed": 1}, {"time": TIME + np.timedelta64(5, "m")}):
        both_wet = (first > 0) & (members_of(scans, 1, 2, **other) > 0)
        assert (members_of(scans, 1, 2, **other) == first)[both_wet].float().mean() < 0.1


def test_members_are_independent_of_each_other():
    """Members by ranks would fill each tenth of the distribution once."""
    scans = evolving_rain(side=64)
    chances = torch.stack([torch.full((64, 64), c) for c in (0.5, 0.45, 0.4, 0.3, 0.2, 0.1)])
    (rain,) = marginal_members(scans, [chances], 10, run())
    wet = (rain > 0).sum(dim=0).float()
    assert wet.mean().item() == pytest.approx(5, abs=0.4)
    assert wet.var().item() == pytest.approx(10 * 0.25, rel=0.25)


def test_the_texture_moves_with_the_rain():
    scans = evolving_rain(side=64, columns=2)
    chances = torch.full((6, 64, 64), 0.5)
    scores = torch.stack(list(marginal_members(scans, [chances] * 4, 40, run()))) > 0

    def agreement(columns: int) -> float:
        moved = scores[2].roll(columns, dims=-1)
        return float((scores[3] == moved)[..., 8:-8].float().mean())

    assert agreement(2) == max(agreement(columns) for columns in range(-2, 7))


def test_dry_scans_give_as_much_rain_as_the_chances_say():
    chances = torch.tensor([0.2, 0.1, 0.05, 0.02, 0.01, 0.0]).view(6, 1, 1).expand(6, 40, 48)
    (rain,) = marginal_members(torch.zeros(4, 40, 48), [chances], 400, run())
    for threshold, chance in ((0.2, 0.2), (0.5, 0.1), (2.0, 0.05)):
        share = (rain >= threshold).float().mean(dim=0)
        assert share.mean().item() == pytest.approx(chance, rel=0.1)
        assert share.std() < 1.6 * (chance * (1 - chance) / 400) ** 0.5


def test_nothing_observed_and_small_grids():
    nothing = torch.full((4, 40, 24), torch.nan)
    (rain,) = marginal_members(nothing, [torch.full((6, 40, 24), torch.nan)], 2, run())
    assert rain.isnan().all()
    for height, width in ((5, 7), (17, 90), (1, 1)):
        scans = evolving_rain(side=96)[:, :height, :width]
        chances = torch.full((6, height, width), 0.5)
        (rain,) = marginal_members(scans, [chances], 300, run())
        assert rain.shape == (300, height, width)
        share = (rain >= 20).float().mean(dim=0)
        assert (share - 0.5).abs().max() < 0.15


def test_wrong_numbers_and_a_lone_scan_with_rain_are_refused():
    scans = evolving_rain(side=40)
    with pytest.raises(ValueError, match="asked for 0 members"):
        members_of(scans, 1, 0)
    scans[:-1] = torch.nan
    with pytest.raises(ValueError, match="only the last of 4 scans was observed"):
        members_of(scans, 1, 2)
