"""Members of STEPS on the moving blobs of `test_pysteps_methods`."""

import numpy as np
import pytest

from squall.datasets.errors import DataError
from squall.pipeline.forecast.methods import Persistence, is_ensemble
from squall.pipeline.forecast.pysteps_methods import PystepsMethod
from squall.pipeline.forecast.steps_method import StepsMethod
from tests.pipeline.forecast.test_pysteps_methods import hostile_contexts, scans

pytest.importorskip("pysteps")
TIME = np.datetime64("2024-06-01T12:00")


def steps(members=3):
    return StepsMethod("steps", 1.0, 5.0, 12, members=members)


def members_of(method, context, lead_times, members):
    return np.stack(list(method.ensemble(context, lead_times, members, TIME)))


def test_steps_makes_members_and_others_do_not():
    assert is_ensemble(steps())
    assert not is_ensemble(Persistence(12))
    assert not is_ensemble(PystepsMethod("s-prog", 1.0, 5.0, 12))


def test_a_member_does_not_depend_on_the_number_of_members():
    context = scans(4)
    two, five = (members_of(steps(), context, 3, count) for count in (2, 5))
    assert five.shape == (3, 5, 96, 96)
    assert five.dtype == np.float32
    np.testing.assert_array_equal(two, five[:, :2])
    np.testing.assert_array_equal(members_of(steps(), context, 3, 1)[:, 0], five[:, 0])
    known = ~np.isnan(five[2]).any(axis=0)
    assert 0.7 < known.mean() < 1
    assert (five[2][:, known].std(axis=0) > 0.01).mean() > 0.3


def test_the_forecast_is_the_mean_of_the_members_and_computed_once(monkeypatch):
    from pysteps.nowcasts import steps as nowcasts

    runs, run = [], nowcasts.forecast
    monkeypatch.setattr(nowcasts, "forecast", lambda *a, **k: runs.append(k) or run(*a, **k))
    method, context = steps(4), scans(4)
    members = members_of(method, context, 3, 4)
    forecast = method.nowcast(context, 3)
    known = ~np.isnan(members).any(axis=1)
    np.testing.assert_allclose(forecast[known], members.mean(axis=1)[known], rtol=1e-5)
    assert len(runs) == 1
    other = method.nowcast(context * np.float32(1.01), 3)
    assert not np.array_equal(other, forecast)
    assert len(runs) == 2
    assert runs[0]["seed"] != runs[1]["seed"]  # each case has its own random numbers


def test_perturbations_of_the_motion_are_those_of_lucas_kanade(monkeypatch):
    """Standard deviation [km/h] after an hour; pysteps' defaults have 20.2 and 17.8."""
    from pysteps.noise import interface

    used, initialize = [], interface.get_method("bps")
    _, generate = initialize

    def spied(*args, **kwargs):
        used.append(kwargs)
        return initialize[0](*args, **kwargs)

    monkeypatch.setitem(interface._noise_methods, "bps", (spied, generate))
    members_of(steps(), scans(4), 1, 2)
    assert len(used) == 2
    for name, expected in (("p_par", 6.58), ("p_perp", 5.44)):
        a, b, c = used[0][name]
        assert a * 60**b + c == pytest.approx(expected, abs=0.01)


def test_the_noise_is_adjusted_to_dry_areas(monkeypatch):
    from pysteps import noise

    adjusted, adjust = [], noise.utils.compute_noise_stddev_adjs
    monkeypatch.setattr(
        noise.utils,
        "compute_noise_stddev_adjs",
        lambda *a, **k: adjusted.append(1) or adjust(*a, **k),
    )
    members_of(steps(), scans(4), 1, 2)
    assert adjusted


@pytest.mark.parametrize("label", ["one wet pixel", "constant rain"])
def test_members_that_pysteps_cannot_make_are_the_extrapolation(label):
    method, context = steps(), hostile_contexts()[label]
    members = members_of(method, context, 2, 3)
    expected = PystepsMethod("pysteps-extrapolation", 1.0, 5.0, 12).nowcast(context, 2)
    for member in range(3):
        np.testing.assert_array_equal(members[:, member], expected)
    np.testing.assert_array_equal(method.nowcast(context, 2), expected)
    assert len(method.replaced) == 1  # the same case counts once


def test_members_of_dry_scans_are_dry_and_not_replaced():
    method = steps()
    assert not members_of(method, np.zeros((4, 64, 64), np.float32), 2, 3).any()
    assert not method.replaced


def test_a_missing_scan_is_refused():
    context = scans(4)
    context[1] = np.nan
    with pytest.raises(DataError, match="1 of 4 scans to start from are missing; steps needs all"):
        members_of(steps(), context, 2, 3)


def test_pixels_from_an_unobserved_area_are_not_known_in_any_member():
    context = scans(4)
    context[:, 40:56, 40:56] = np.nan
    members = members_of(steps(), context, 3, 3)
    assert np.isnan(members[2, :, 46:54, 50:58]).all()
