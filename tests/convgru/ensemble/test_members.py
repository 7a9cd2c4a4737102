"""Members of the stochastic ensemble: what they keep, and how they differ."""

import numpy as np
import pytest
import torch

from squall.convgru.ensemble import members as members_module
from squall.convgru.ensemble import start as start_module
from squall.convgru.ensemble import stochastic_forecast, stochastic_members
from squall.convgru.ensemble.perturbations import Perturbations
from squall.convgru.ensemble.settings import Growth
from squall.convgru.motion import trajectories
from tests.convgru.ensemble.evolving_rain import (
    NEVER,
    TIME,
    UNPERTURBED,
    check_that_a_member_does_not_depend_on_the_number,
    evolving_rain,
    radial_spectrum_db,
    run,
)

SAME_PLACE = {"along_km": NEVER, "across_km": NEVER}


def members_of(scans: torch.Tensor, leads: int, members: int, **options) -> torch.Tensor:
    """(L, M, H, W)"""
    return torch.stack(list(stochastic_members(scans, leads, members, run(**options))))


def test_a_member_does_not_depend_on_the_number_of_members(monkeypatch):
    check_that_a_member_does_not_depend_on_the_number(members_of, monkeypatch)


def test_seed_and_reference_time_change_all_members():
    scans = evolving_rain(side=64)
    first = members_of(scans, 1, 2)
    for other in ({"seed": 1}, {"time": TIME + np.timedelta64(5, "m")}):
        is_equal = members_of(scans, 1, 2, **other) == first
        assert is_equal.float().mean() < 0.5


def test_without_perturbations_all_members_are_the_forecast():
    scans = evolving_rain(side=64)
    settings = UNPERTURBED.model_dump()
    at_rest = [scans[-1]] * 4  # the motion is 0, so nothing is interpolated
    members = members_of(torch.stack(at_rest), 2, 2, **settings)
    forecast = torch.stack(list(stochastic_forecast(torch.stack(at_rest), 2, run(**settings))))
    torch.testing.assert_close(members, forecast[:, None].expand(-1, 2, -1, -1), rtol=1e-4, atol=0)


def test_members_keep_the_spectrum_of_the_last_scan_at_all_lead_times():
    scans = evolving_rain(side=128, columns=1)
    members = members_of(scans, 12, 4, seed=2)
    observed = radial_spectrum_db(scans[-1].log10().numpy())
    for lead, rain in enumerate(members, start=1):
        filled = torch.where(rain.isnan(), rain.nanmedian(), rain).clamp(min=0.1)
        difference = radial_spectrum_db(filled.log10().numpy()) - observed
        assert np.abs(difference).max() < 1.5, (lead, difference)


def test_amounts_are_those_of_the_last_scan_times_the_factor_of_the_member():
    scans = evolving_rain(side=64)[:1].repeat(4, 1, 1)
    scans[:, :20] = 0
    settings = {**SAME_PLACE, "amount_common": 1.0, "amount": Growth(a=0.3, b=0)}
    members = members_of(scans, 2, 12, **settings)
    wet = scans[-1].flatten()[scans[-1].flatten() > 1.0].sort().values
    factors = []
    for member in members[1]:
        amounts = member.flatten().sort().values[-len(wet) :]
        factor = amounts / wet
        torch.testing.assert_close(factor, factor[:1].expand_as(factor), rtol=1e-3, atol=0)
        factors.append(factor.mean().log().item())
    assert len({round(factor, 4) for factor in factors}) == 12
    assert np.mean(factors) == pytest.approx(-(0.3**2) / 2, abs=4 * 0.3 / 12**0.5)
    assert np.std(factors) == pytest.approx(0.3, rel=0.6)


def test_amounts_change_on_average_by_the_tendency():
    scans = evolving_rain(side=64)[:1].repeat(4, 1, 1)
    settings = {**SAME_PLACE, "amount": NEVER, "tendency_per_hour": -1.2}
    thirty_minutes = members_of(scans, 6, 1, **settings)[-1, 0]
    ratio = thirty_minutes.sum() / scans[-1].sum()
    assert ratio.item() == pytest.approx(np.exp(-0.6), rel=0.01)


def test_displacements_grow_along_and_across_the_motion():
    scans = evolving_rain(side=64, columns=3)
    settings = {"along_km": Growth(a=0.5, b=1), "across_km": Growth(a=0.1, b=1)}
    ensemble = run(**settings)
    start = start_module.start_of_ensemble(scans, ensemble)
    perturbations = Perturbations.draw(
        start.motion_B2hw[0], range(300), ensemble.random_source(), ensemble.settings, 1.0
    )
    displacement = trajectories(start.motion_B2hw, 2)[1]
    places = perturbations.places(slice(0, 300), displacement, 10.0)
    right, down = places.std(dim=0).mean(dim=(1, 2)).tolist()
    assert right == pytest.approx(5.0, rel=0.15)  # the motion is to the right; 1 km to a pixel
    assert down == pytest.approx(1.0, rel=0.2)
    mean = places.mean(dim=(0, 2, 3)) - displacement.mean(dim=(0, 2, 3))
    assert mean.abs().max() < 0.8


def test_members_are_known_where_the_forecast_is():
    """Pixels that no scan observed, and trajectories that come from outside the grid."""
    scans = evolving_rain(side=64, columns=3)
    scans[:, 40:, :16] = torch.nan
    settings = {"along_km": Growth(a=1, b=1), "across_km": Growth(a=1, b=1)}
    ensemble = run(**settings)
    members = stochastic_members(scans, 3, 5, ensemble)
    for forecast, rain in zip(stochastic_forecast(scans, 3, ensemble), members, strict=True):
        unknown = forecast.isnan()
        assert 0.05 < unknown.float().mean() < 0.6
        assert torch.equal(rain.isnan(), unknown.expand_as(rain))
        assert (rain >= 0).float().sum() == 5 * (~unknown).sum()


def test_a_trajectory_from_an_unknown_pixel_gets_the_rain_of_the_one_without_perturbation():
    rain = torch.arange(1.0, 13.0).view(1, 1, 12).expand(1, 3, 12).clone()
    rain[..., :4] = torch.nan
    is_known = ~rain[0].isnan()
    columns, rows = torch.arange(12.0).repeat(3), torch.arange(3.0).repeat_interleave(12)
    of_scans = members_module._Unperturbed(
        is_known.float().flatten(), is_known, torch.stack([columns, rows])
    )
    far = torch.zeros(1, 2, 3, 12)
    far[:, 0] = 6.0
    moved = members_module._moved(rain, far, of_scans)
    assert moved[0, 0, 4:].tolist() == [5, 6, 7, 8, 9, 10, 5, 6]
    assert moved[0, :, :4].isnan().all()
