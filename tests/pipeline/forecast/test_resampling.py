import logging
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch

from squall.convgru.motion import extrapolate
from squall.datasets.errors import DataError
from squall.pipeline.forecast.resampling import Resampling

SIZE = 96  # pixels of 1 km
SPEED_KM_H = 36.0
BASE = {
    "name": "base",
    "context": 4,
    "lead_times": 12,
    "steps_s": [300, 360, 600],
    "spacings_m": [500.0, 1000.0, 2000.0],
}


def plan(step_min=5.0, spacing_km=1.0, **provenance):
    return Resampling.of(BASE | provenance, step_s=step_min * 60, spacing_m=spacing_km * 1000)


def scan(minutes, spacing_km=1.0, size_km=SIZE, peak=20.0):
    """Two Gaussian showers that move right and slightly down, as a grid of that spacing sees."""
    fine = 4  # samples to a pixel's side: a radar's pixel is a mean
    pixels = round(size_km / spacing_km)
    km = (np.arange(pixels * fine) + 0.5) * spacing_km / fine
    rain = np.zeros((pixels * fine, pixels * fine))
    for x, y, width in ((30.0, 40.0, 6.0), (48.0, 60.0, 9.0)):
        x, y = x + SPEED_KM_H * minutes / 60, y + 0.25 * SPEED_KM_H * minutes / 60
        distance = np.hypot(km[None, :] - x, km[:, None] - y)
        rain += peak * np.exp(-0.5 * (distance / width) ** 2)
    blocks = rain.reshape(pixels, fine, pixels, fine).mean(axis=(1, 3))
    return np.where(blocks < 0.08, 0.0, blocks).astype(np.float32)


def scans(count, step_min, spacing_km=1.0):
    """(count, y, x), the last one at minute 0."""
    return np.stack([scan(step_min * (i - count + 1), spacing_km) for i in range(count)])


def optical_flow(context, lead_times):
    tensor = torch.from_numpy(np.ascontiguousarray(context))[None, :, None]
    return extrapolate(tensor, lead_times)[0, :, 0].numpy()


def persistence(context, lead_times):
    return np.repeat(context[-1:], lead_times, axis=0)


def centre(rain):
    """(x, y) of the rain's mass, pixels."""
    rain = np.nan_to_num(rain)
    rows, columns = np.indices(rain.shape)
    return np.array([(columns * rain).sum(), (rows * rain).sum()]) / rain.sum()


@pytest.mark.parametrize(
    ("step_min", "time", "context", "lead_times"),
    [
        (1.0, Fraction(5), 16, 60),
        (2.0, Fraction(3), 10, 36),
        (2.5, Fraction(2), 7, 24),
        (3.0, Fraction(2), 7, 24),
        (4.0, Fraction(1), 4, 12),
        (5.0, Fraction(1), 4, 12),
        (7.5, Fraction(1), 4, 12),
        (12.0, Fraction(1), 4, 12),
        (15.0, Fraction(1, 2), 3, 6),
        (30.0, Fraction(1, 3), 2, 4),
    ],
)
def test_the_step_comes_as_near_as_whole_factors_can(step_min, time, context, lead_times):
    found = plan(step_min)
    assert (found.time, found.space) == (time, 1)
    assert (found.context, found.lead_times) == (context, lead_times)
    assert bool(str(found)) == (time != 1)


@pytest.mark.parametrize(
    ("spacing_km", "space"),
    [
        (0.25, Fraction(2)),
        (0.4, Fraction(1)),
        (0.5, Fraction(1)),
        (1.25, Fraction(1)),
        (2.0, Fraction(1)),
        (2.4, Fraction(1)),
        (3.0, Fraction(1, 2)),
        (4.0, Fraction(1, 2)),
    ],
)
def test_the_spacing_comes_as_near_as_whole_factors_can(spacing_km, space):
    assert plan(spacing_km=spacing_km).space == space


def test_words_for_the_provenance():
    assert str(plan(2.0, 0.25)) == "every 3 scans (6 min), means of 2x2 pixels (0.5 km)"
    words = "2 in between scans (10 min), 2x2 pixels in place of one (2 km)"
    assert str(plan(30.0, 4.0)) == words


def test_a_checkpoint_without_spacings_keeps_the_archives():
    provenance = {key: value for key, value in BASE.items() if key != "spacings_m"}
    assert Resampling.of(provenance, step_s=300, spacing_m=250).space == 1


@pytest.mark.parametrize(("step_min", "spacing_km"), [(5, 1), (10, 2), (6, 0.5), (4, 1.2)])
def test_what_was_trained_on_is_not_touched(step_min, spacing_km):
    context, made = scans(4, 5.0), np.zeros((3, SIZE, SIZE), np.float32)

    def model(given, lead_times):
        assert given is context
        assert lead_times == 3
        return made

    found = plan(step_min, spacing_km)
    np.testing.assert_array_equal(found.nowcast(model, context, 3), made)
    assert str(found) == ""


@pytest.mark.parametrize(("step_min", "spacing_km"), [(2, 0.5), (15, 2), (5, 1)])
def test_no_warning_inside_the_range(step_min, spacing_km, caplog):
    plan(step_min, spacing_km)
    assert not caplog.records


@pytest.mark.parametrize(
    ("step_min", "spacing_km", "message"),
    [
        (1, 1, "base: the archive has a step of 1 min, outside 2 to 15 min (trained on 5, 6, 10"),
        (20, 1, "a step of 20 min, outside 2 to 15 min"),
        (5, 0.25, "a grid spacing of 0.25 km, outside 0.5 to 2 km (trained on 0.5, 1, 2 km)"),
        (5, 4, "a grid spacing of 4 km, outside 0.5 to 2 km"),
    ],
)
def test_outside_the_range_a_warning_names_the_number(step_min, spacing_km, message, caplog):
    with caplog.at_level(logging.WARNING, "squall.resampling"):
        plan(step_min, spacing_km)
    assert message in caplog.text
    assert len(caplog.records) == 1


def test_a_model_trained_outside_the_range_is_at_home_there(caplog):
    found = plan(60, 5, steps_s=[3600], spacings_m=[5000])
    assert (found.time, found.space) == (1, 1)
    assert not caplog.records


@pytest.mark.parametrize(
    ("step_min", "spacing_km", "message"),
    [
        (45, 1, r"base: .* a step of 45 min, at most 30 min can be forecast \(trained on 5, 6, 10"),
        (5, 5, r"a grid spacing of 5 km, at most 4 km can be forecast .*train a model on such"),
    ],
)
def test_beyond_what_makes_sense_it_refuses(step_min, spacing_km, message):
    with pytest.raises(DataError, match=message):
        plan(step_min, spacing_km)


def test_a_plan_goes_to_another_process():
    assert pickle.loads(pickle.dumps(plan(2.0))) == plan(2.0)


def test_a_finer_step_gives_the_same_forecast_at_common_times():
    finer = plan(2.0, steps_s=[240])
    assert (finer.time, finer.context, finer.lead_times) == (2, 7, 24)
    every_2_min = finer.nowcast(optical_flow, scans(7, 2.0), 9)
    every_4_min = optical_flow(scans(4, 4.0), 5)
    assert every_2_min.shape == (9, SIZE, SIZE)
    np.testing.assert_array_equal(every_2_min[1::2], every_4_min[:4])


def test_lead_times_put_in_between_lie_on_the_way():
    made = plan(2.0).nowcast(optical_flow, scans(10, 2.0), 18)
    start, step_px = centre(scan(0)), SPEED_KM_H * 2 / 60 * np.array([1, 0.25])
    for lead, forecast in enumerate(made, start=1):
        np.testing.assert_allclose(centre(forecast), start + lead * step_px, atol=0.5)
        assert np.nansum(forecast) == pytest.approx(scan(0).sum(), rel=0.03)
        assert np.nanmax(forecast) == pytest.approx(scan(0).max(), rel=0.08)


def test_scans_put_in_between_lie_on_the_way():
    seen = []

    def model(context, lead_times):
        seen.append(context)
        return optical_flow(context, lead_times)

    made = plan(20.0).nowcast(model, scans(3, 20.0), 3)
    (context,) = seen
    assert len(context) == 4
    for found, minutes in zip(context, (-30, -20, -10, 0), strict=True):
        expected = scan(minutes)
        np.testing.assert_allclose(centre(found), centre(expected), atol=0.5)
        assert np.nansum(found) == pytest.approx(expected.sum(), rel=0.03)
        assert np.nanmax(np.abs(found - expected)) < 0.15 * expected.max()
    travelled = SPEED_KM_H * np.array([20, 40]) / 60  # the third lead is over the edge
    found = [centre(lead)[0] - centre(scan(0))[0] for lead in made[:2]]
    np.testing.assert_allclose(found, travelled, atol=1.0)


def test_a_finer_grid_is_forecast_by_means_and_comes_back():
    made = plan(5.0, 0.25).nowcast(optical_flow, scans(4, 5.0, spacing_km=0.25), 4)
    assert made.shape == (4, 4 * SIZE, 4 * SIZE)
    for lead, forecast in enumerate(made, start=1):
        expected = scan(5.0 * lead, spacing_km=0.25)
        np.testing.assert_allclose(centre(forecast), centre(expected), atol=2.0)  # 0.5 km
        assert np.nansum(forecast) == pytest.approx(expected.sum(), rel=0.02)
        assert np.nanmax(np.abs(forecast - expected)) < 2.0  # of 20 mm/h


def test_a_wider_grid_is_forecast_on_a_finer_one_and_comes_back():
    made = plan(5.0, 4.0).nowcast(optical_flow, scans(4, 5.0, spacing_km=4.0), 4)
    assert made.shape == (4, SIZE // 4, SIZE // 4)
    for lead, forecast in enumerate(made, start=1):
        expected = scan(5.0 * lead, spacing_km=4.0)
        np.testing.assert_allclose(centre(forecast), centre(expected), atol=0.3)
        assert np.nansum(forecast) == pytest.approx(expected.sum(), rel=0.05)


@pytest.mark.parametrize("spacing_km", [0.25, 0.1, 3.0, 4.0])
def test_the_mean_of_rain_stays_and_where_it_is_known(spacing_km):
    """Rough rain with gaps on a grid whose sides no factor divides."""
    random = np.random.default_rng(3)
    last = np.exp(random.normal(0, 2, (1, 37, 41))).astype(np.float32)
    last[random.random(last.shape) < 0.4] = 0.0
    last[:, 5:20, 8:30] = np.nan
    found = plan(5.0, spacing_km)
    assert found.space != 1
    made = found.nowcast(persistence, np.repeat(last, 4, axis=0), 2)
    assert made.shape == (2, 37, 41)
    assert not np.isnan(made[:, ~np.isnan(last[0])]).any()
    assert np.isnan(made[:, 10:15, 15:22]).all()
    if found.space < 1:  # there and back gives the same
        np.testing.assert_allclose(made[0], last[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(np.isnan(made[0]), np.isnan(last[0]))
    else:  # means of blocks stay; those at the edge and at gaps are of the known ones
        side = int(found.space)
        inner = last[0, : 37 // side * side, : 41 // side * side]
        blocks = inner.reshape(37 // side, side, -1, side).transpose(0, 2, 1, 3)
        back = made[0, : 37 // side * side, : 41 // side * side]
        found_blocks = back.reshape(37 // side, side, -1, side).mean(axis=(1, 3))
        whole = ~np.isnan(blocks).any(axis=(2, 3))
        assert whole.sum() > 20
        np.testing.assert_allclose(
            found_blocks[whole], blocks.mean(axis=(2, 3))[whole], rtol=1e-4, atol=1e-6
        )


def test_a_lost_scan_is_bridged_and_rain_does_not_leave_the_known_area():
    context = scans(3, 20.0)
    context[:, :, 80:] = np.nan
    context[0] = np.nan
    seen = []

    def model(given, lead_times):
        seen.append(given)
        return persistence(given, lead_times)

    plan(20.0).nowcast(model, context, 1)
    (given,) = seen
    np.testing.assert_array_equal(given[[1, 3]], context[1:])
    assert np.isfinite(given[2, 5:-5, :80]).all()
    assert np.isnan(given[2, :, 90:]).all()
    assert np.isfinite(given[0]).any()  # what the next scan tells of it
    assert given[np.isfinite(given)].min() >= 0


def test_dry_scans_stay_dry():
    dry = np.zeros((10, 33, 31), np.float32)
    made = plan(2.0, 0.25).nowcast(optical_flow, dry, 7)
    assert made.shape == (7, 33, 31)
    np.testing.assert_array_equal(made, 0.0)
