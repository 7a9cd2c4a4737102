"""Ensembles of contexts with little in them, and what is refused."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from squall.convgru.ensemble import EnsembleSettings, stochastic_forecast, stochastic_members
from tests.convgru.ensemble.evolving_rain import evolving_rain, run


def members_of(scans: torch.Tensor, leads: int = 3, members: int = 3, **options) -> torch.Tensor:
    return torch.stack(list(stochastic_members(scans, leads, members, run(**options))))


DRY = (torch.zeros(4, 40, 24), torch.full((4, 40, 24), 0.09), torch.zeros(1, 40, 24))


@pytest.mark.parametrize("scans", DRY, ids=["dry", "drizzle", "one scan"])
def test_dry_scans_stay_dry_without_new_rain(scans):
    assert torch.equal(members_of(scans, new_rain={"a": 0, "b": 1}), torch.zeros(3, 3, 40, 24))


def test_after_dry_scans_there_is_a_small_chance_of_rain():
    assert EnsembleSettings().new_rain_share(60) == pytest.approx(0.0005)
    options = {"step_min": 15.0, "new_rain": {"a": 0.002 / 60**1.8, "b": 1.8}}
    rain = members_of(torch.zeros(2, 64, 64), 4, 150, **options)
    share = (rain >= 0.2).float().mean(dim=(1, 2, 3))
    assert share[3].item() == pytest.approx(0.002, rel=0.5)
    assert 0 < share[1] < share[3] / 2


def test_nothing_observed_is_nothing_known():
    scans = torch.full((4, 40, 24), torch.nan)
    assert members_of(scans).isnan().all()
    rained = evolving_rain(side=40)[:, :, :24]
    rained[-1] = torch.nan
    assert members_of(rained).isnan().all()


def test_one_wet_pixel_stays_one_wet_pixel():
    scans = torch.zeros(4, 48, 48)
    scans[:, 20, 30] = 5.0
    members = members_of(scans, members=6)
    assert members.isfinite().all()
    assert ((members > 0).sum(dim=(2, 3)) <= 4).all()  # the nearest pixel may be taken twice
    assert members.amax(dim=(2, 3)).median() == pytest.approx(5.0, rel=0.3)


@pytest.mark.parametrize("scans", [1, 4])
def test_rain_in_the_only_observed_scan_is_refused(scans):
    rain = evolving_rain(scans, side=40)
    rain[:-1] = torch.nan
    for function in (
        lambda: list(stochastic_members(rain, 2, 2, run())),
        lambda: list(stochastic_forecast(rain, 2, run())),
    ):
        with pytest.raises(ValueError, match=f"only the last of {scans} scans was observed. Ing"):
            function()


def test_a_gap_in_the_context_is_no_obstacle():
    scans = evolving_rain(side=64, columns=2)
    scans[2] = torch.nan
    members = members_of(scans)
    assert (members[2].std(dim=0).nan_to_num(0) > 0.01).float().mean() > 0.7


def test_rain_that_has_just_come_spreads_although_nothing_tells_its_lifetime():
    scans = evolving_rain(side=64)
    scans[:-1] = 0
    members = members_of(scans, 6, along_km={"a": 0, "b": 1}, across_km={"a": 0, "b": 1})
    assert (members[5].std(dim=0) > 0.1 * members[5].mean(dim=0)).float().mean() > 0.5


def test_small_and_odd_grids():
    for height, width in ((5, 7), (17, 90), (1, 1)):
        scans = evolving_rain(side=96)[:, :height, :width]
        members = members_of(scans, 2)
        assert members.shape == (2, 3, height, width)
        assert members.isfinite().any()


def test_infinitely_heavy_rain_is_limited_as_everywhere():
    scans = evolving_rain(side=40)
    scans[:, 5, 5] = 1e6
    members = members_of(scans, members=2, amount={"a": 0, "b": 1})
    assert members.nan_to_num(0).max() <= 205.01


@pytest.mark.parametrize(
    ("scans", "options", "message"),
    [
        (torch.zeros(40, 24), {}, r"shape \(40, 24\), not \(time, y, x\)"),
        (torch.zeros(0, 40, 24), {}, r"shape \(0, 40, 24\)"),
        (torch.zeros(4, 40, 24), {"leads": 0}, "0 lead times"),
        (torch.zeros(4, 40, 24), {"members": 0}, "0 members"),
        (torch.zeros(4, 40, 24), {"step_min": 0.0}, "step 0.0 min and spacing 1.0 km"),
        (torch.zeros(4, 40, 24), {"time": np.datetime64("NaT")}, "the reference time is not a"),
    ],
)
def test_wrong_numbers_are_refused(scans, options, message):
    with pytest.raises(ValueError, match=message):
        members_of(scans, **options)


@pytest.mark.parametrize(
    "settings",
    [{"noise": -1}, {"amount_common": 1.5}, {"nois": 1}, {"amount": {"a": -1, "b": 1}}],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        EnsembleSettings(**settings)


def test_settings_pass_through_json_and_have_a_digest():
    settings = EnsembleSettings(noise=0.5)
    assert EnsembleSettings.model_validate_json(settings.model_dump_json()) == settings
    assert settings.digest != EnsembleSettings().digest
    default = EnsembleSettings()
    assert default.digest == EnsembleSettings(noise=default.noise).digest
