"""New rain far from the last scan's: how much, how heavy, where, and which member's."""

import pytest
import torch

from squall.convgru.ensemble import stochastic_members
from squall.convgru.ensemble.new_rain import NewRain
from squall.convgru.heads.interface import Frame
from tests.convgru.ensemble.evolving_rain import NEVER, evolving_rain, run

SIDE = 128


def frame_of(last_HW: torch.Tensor) -> Frame:
    return Frame(last_HW[None, None, None], torch.ones_like(last_HW)[None, None, None], None)


def rain_at(minutes: float, members: int, last_HW: torch.Tensor, **settings) -> torch.Tensor:
    """(M, H, W) mm/h"""
    ensemble = run(**settings)
    new_rain = NewRain.draw(
        frame_of(last_HW), range(members), 60.0, ensemble.random_source(), ensemble.settings, 1.0
    )
    rain = torch.zeros(members, *last_HW.shape)
    new_rain.add_to(rain, slice(0, members), minutes)
    return rain


@pytest.mark.parametrize("scale_km", [4.0, 8.0, 20.0])
def test_the_share_and_the_rates_are_those_of_the_settings(scale_km):
    options = {"new_rain": {"a": 0.02 / 60, "b": 1.0}, "new_rain_scale_km": scale_km}
    for minutes, share in ((30.0, 0.01), (60.0, 0.02)):
        rain = rain_at(minutes, 300, torch.zeros(SIDE, SIDE), **options)
        assert (rain > 0).float().mean().item() == pytest.approx(share, rel=0.2)
        wet = rain[rain > 0]
        assert wet.min() >= 0.2
        for rate in (0.5, 2.0):
            heavier = (wet >= rate).float().mean().item()
            assert heavier == pytest.approx((rate / 0.2) ** -1.3, rel=0.25)


def test_a_shower_has_its_size_and_grows():
    options = {"new_rain": {"a": 0.01 / 60, "b": 1.0}}
    earlier, later = (rain_at(m, 100, torch.zeros(SIDE, SIDE), **options) for m in (30.0, 60.0))
    assert (later >= earlier).all()
    around = torch.nn.functional.avg_pool2d((later > 0).float(), 3, 1, 1)
    assert around[later > 0].mean() > 0.7  # no single pixels


def test_new_rain_is_far_from_the_rain_of_the_last_scan():
    last = torch.zeros(SIDE, SIDE)
    last[60, 10] = 0.5
    rain = rain_at(60.0, 200, last, new_rain={"a": 0.05 / 60, "b": 1.0})
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    distance = torch.hypot(row - 60.0, column - 10.0)
    assert rain[:, distance <= 20].max() == 0
    assert (rain[:, distance > 48] > 0).any(dim=0).float().mean() > 0.8


def test_members_differ_and_do_not_depend_on_their_number():
    options = {"new_rain": {"a": 0.05 / 60, "b": 1.0}}
    dry = torch.zeros(SIDE, SIDE)
    three, five = (rain_at(60.0, members, dry, **options) for members in (3, 5))
    assert torch.equal(three, five[:3])
    assert not torch.equal(five[3], five[4])
    assert not torch.equal(rain_at(60.0, 3, dry, **options, seed=1), three)


def test_new_rain_moves_and_leaves_other_rain_as_it_is():
    scans = evolving_rain(side=SIDE, columns=3)
    for age in range(4):  # the edge of the rain moves with it
        scans[3 - age, :, 40 - 3 * age :] = 0
    options = {"along_km": NEVER, "across_km": NEVER, "new_rain_distance_km": 8.0}
    ensembles = [
        torch.stack(list(stochastic_members(scans, 3, 10, run(**options, new_rain=growth))))
        for growth in (NEVER, {"a": 0.05, "b": 0.0})
    ]
    without, both = (rain.nan_to_num(-1) for rain in ensembles)
    assert (both >= without).all()
    assert torch.equal(both[..., :40], without[..., :40])
    new = torch.where(both > without, both, 0.0)[..., 72:]
    assert (new > 0).float().mean() > 0.01

    def agreement(columns: int) -> float:
        return float((new[2] == new[0].roll(columns, dims=-1))[..., 16:-16].float().mean())

    assert max((0, 2, 4, 6, 8), key=agreement) == 6
