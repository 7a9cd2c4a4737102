"""A network on archives with another time step or grid spacing than it was trained on."""

import logging
import pickle
from fractions import Fraction

import numpy as np
import pytest

from squall.datasets.errors import DataError
from squall.pipeline.forecast.resampling import Resampling
from tests.pipeline.forecast.moving_showers import (
    BASE,
    SIZE,
    SPEED_KM_H,
    centre,
    nowcast,
    optical_flow,
    persistence,
    resampling,
    scan_at,
    scans,
)


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
def test_the_time_factor_brings_the_step_nearest_to_a_trained_one(
    step_min, time, context, lead_times
):
    chosen = resampling(step_min)
    assert (chosen.time_factor, chosen.space_factor) == (time, 1)
    assert (chosen.context, chosen.lead_times) == (context, lead_times)
    assert bool(str(chosen)) == (time != 1)


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
def test_the_space_factor_brings_the_spacing_nearest_to_a_trained_one(spacing_km, space):
    assert resampling(spacing_km=spacing_km).space_factor == space


def test_the_description_for_the_provenance():
    assert str(resampling(2.0, 0.25)) == "every 3 scans (6 min), means of 2x2 pixels (0.5 km)"
    expected = "2 in between scans (10 min), 2x2 pixels in place of one (2 km)"
    assert str(resampling(30.0, 4.0)) == expected


def test_a_checkpoint_without_spacings_keeps_the_grid():
    provenance = {key: value for key, value in BASE.items() if key != "spacings_m"}
    assert Resampling.for_archive(provenance, step_s=300, spacing_m=250).space_factor == 1


@pytest.mark.parametrize(("step_min", "spacing_km"), [(5, 1), (10, 2), (6, 0.5), (4, 1.2)])
def test_steps_and_spacings_that_were_trained_on_are_not_resampled(step_min, spacing_km):
    context, forecast = scans(4, 5.0), np.zeros((3, SIZE, SIZE), np.float32)

    def network(network_context, lead_times):
        assert network_context is context
        assert lead_times == 3
        return forecast

    chosen = resampling(step_min, spacing_km)
    np.testing.assert_array_equal(nowcast(chosen, network, context, 3), forecast)
    assert str(chosen) == ""


@pytest.mark.parametrize(("step_min", "spacing_km"), [(2, 0.5), (15, 2), (5, 1)])
def test_no_warning_inside_the_range(step_min, spacing_km, caplog):
    resampling(step_min, spacing_km)
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
def test_a_warning_outside_the_range_names_the_value(step_min, spacing_km, message, caplog):
    with caplog.at_level(logging.WARNING, "squall.resampling"):
        resampling(step_min, spacing_km)
    assert message in caplog.text
    assert len(caplog.records) == 1


def test_no_warning_for_an_archive_like_those_trained_on(caplog):
    chosen = resampling(60, 5, steps_s=[3600], spacings_m=[5000])
    assert (chosen.time_factor, chosen.space_factor) == (1, 1)
    assert not caplog.records


@pytest.mark.parametrize(
    ("step_min", "spacing_km", "message"),
    [
        (45, 1, r"base: .* a step of 45 min, at most 30 min can be forecast \(trained on 5, 6, 10"),
        (5, 5, r"a grid spacing of 5 km, at most 4 km can be forecast .*train a model on such"),
    ],
)
def test_beyond_the_limits_it_is_refused(step_min, spacing_km, message):
    with pytest.raises(DataError, match=message):
        resampling(step_min, spacing_km)


def test_a_resampling_can_be_pickled():
    assert pickle.loads(pickle.dumps(resampling(2.0))) == resampling(2.0)


def test_a_finer_step_gives_the_same_forecast_at_common_times():
    finer = resampling(2.0, steps_s=[240])
    assert (finer.time_factor, finer.context, finer.lead_times) == (2, 7, 24)
    every_2_min = nowcast(finer, optical_flow, scans(7, 2.0), 9)
    every_4_min = optical_flow(scans(4, 4.0), 5)
    assert every_2_min.shape == (9, SIZE, SIZE)
    np.testing.assert_array_equal(every_2_min[1::2], every_4_min[:4])


def test_scans_that_the_network_does_not_use_may_be_missing():
    chosen = resampling(2.0)
    assert (chosen.context, chosen.stride, resampling(5.0).stride) == (10, 3, 1)
    assert resampling(20.0).stride == 1
    context = scans(10, 2.0)
    with_gaps = context.copy()
    with_gaps[[step for step in range(10) if (9 - step) % chosen.stride]] = np.nan
    assert np.isnan(with_gaps).any(axis=(1, 2)).sum() == 6
    complete, incomplete = (nowcast(chosen, optical_flow, c, 5) for c in (context, with_gaps))
    np.testing.assert_array_equal(incomplete, complete)


def test_rain_moves_evenly_through_interpolated_lead_times():
    forecast = nowcast(resampling(2.0), optical_flow, scans(10, 2.0), 18)
    start, step_px = centre(scan_at(0)), SPEED_KM_H * 2 / 60 * np.array([1, 0.25])
    for lead, rain in enumerate(forecast, start=1):
        np.testing.assert_allclose(centre(rain), start + lead * step_px, atol=0.5)
        assert np.nansum(rain) == pytest.approx(scan_at(0).sum(), rel=0.03)
        assert np.nanmax(rain) == pytest.approx(scan_at(0).max(), rel=0.08)


def test_rain_moves_evenly_through_interpolated_scans():
    contexts = []

    def network(context, lead_times):
        contexts.append(context)
        return optical_flow(context, lead_times)

    forecast = nowcast(resampling(20.0), network, scans(3, 20.0), 3)
    (context,) = contexts
    assert len(context) == 4
    for interpolated, minutes in zip(context, (-30, -20, -10, 0), strict=True):
        expected = scan_at(minutes)
        np.testing.assert_allclose(centre(interpolated), centre(expected), atol=0.5)
        assert np.nansum(interpolated) == pytest.approx(expected.sum(), rel=0.03)
        assert np.nanmax(np.abs(interpolated - expected)) < 0.15 * expected.max()
    travelled = SPEED_KM_H * np.array([20, 40]) / 60  # in the third lead time rain leaves the grid
    distances = [centre(lead)[0] - centre(scan_at(0))[0] for lead in forecast[:2]]
    np.testing.assert_allclose(distances, travelled, atol=1.0)


def test_a_finer_grid_is_averaged_for_the_network_and_restored():
    forecast = nowcast(resampling(5.0, 0.25), optical_flow, scans(4, 5.0, spacing_km=0.25), 4)
    assert forecast.shape == (4, 4 * SIZE, 4 * SIZE)
    for lead, rain in enumerate(forecast, start=1):
        expected = scan_at(5.0 * lead, spacing_km=0.25)
        np.testing.assert_allclose(centre(rain), centre(expected), atol=2.0)  # 0.5 km
        assert np.nansum(rain) == pytest.approx(expected.sum(), rel=0.02)
        assert np.nanmax(np.abs(rain - expected)) < 2.0  # of 20 mm/h


def test_a_wider_grid_is_refined_for_the_network_and_restored():
    forecast = nowcast(resampling(5.0, 4.0), optical_flow, scans(4, 5.0, spacing_km=4.0), 4)
    assert forecast.shape == (4, SIZE // 4, SIZE // 4)
    for lead, rain in enumerate(forecast, start=1):
        expected = scan_at(5.0 * lead, spacing_km=4.0)
        np.testing.assert_allclose(centre(rain), centre(expected), atol=0.3)
        assert np.nansum(rain) == pytest.approx(expected.sum(), rel=0.05)


def known_wide_pixels(is_known, side):
    """(y, x) whether at least half of the pixels of the square around each pixel are known."""
    rows, columns = np.indices(is_known.shape) // side
    result = np.empty_like(is_known)
    for row, column in {*zip(rows.ravel().tolist(), columns.ravel().tolist(), strict=True)}:
        square = (rows == row) & (columns == column)
        result[square] = is_known[square].mean() >= 0.5
    return result


@pytest.mark.parametrize("spacing_km", [0.25, 0.1, 3.0, 4.0])
def test_regridding_keeps_mean_rain_and_the_known_area(spacing_km):
    """Random rain with gaps, on a grid whose sides are not divisible by the factors."""
    random = np.random.default_rng(3)
    last = np.exp(random.normal(0, 2, (1, 37, 41))).astype(np.float32)
    last[random.random(last.shape) < 0.4] = 0.0
    last[:, 5:20, 8:30] = np.nan
    chosen = resampling(5.0, spacing_km)
    assert chosen.space_factor != 1
    forecast = nowcast(chosen, persistence, np.repeat(last, 4, axis=0), 2)
    assert forecast.shape == (2, 37, 41)
    expected = known_wide_pixels(~np.isnan(last[0]), max(1, int(chosen.space_factor)))
    np.testing.assert_array_equal(~np.isnan(forecast), np.stack([expected, expected]))
    assert np.isnan(forecast[:, 10:15, 15:22]).all()
    if chosen.space_factor < 1:  # refined and averaged again: nothing changes
        np.testing.assert_allclose(forecast[0], last[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(np.isnan(forecast[0]), np.isnan(last[0]))
    else:  # the means of whole blocks stay
        side = int(chosen.space_factor)
        inner = last[0, : 37 // side * side, : 41 // side * side]
        blocks = inner.reshape(37 // side, side, -1, side).transpose(0, 2, 1, 3)
        inner_forecast = forecast[0, : 37 // side * side, : 41 // side * side]
        forecast_blocks = inner_forecast.reshape(37 // side, side, -1, side).mean(axis=(1, 3))
        whole = ~np.isnan(blocks).any(axis=(2, 3))
        assert whole.sum() > 20
        np.testing.assert_allclose(
            forecast_blocks[whole], blocks.mean(axis=(2, 3))[whole], rtol=1e-4, atol=1e-6
        )


def test_a_missing_scan_is_interpolated_within_the_known_area():
    context = scans(3, 20.0)
    context[:, :, 80:] = np.nan
    context[0] = np.nan
    contexts = []

    def network(network_context, lead_times):
        contexts.append(network_context)
        return persistence(network_context, lead_times)

    nowcast(resampling(20.0), network, context, 1)
    (network_context,) = contexts
    np.testing.assert_array_equal(network_context[[1, 3]], context[1:])
    assert np.isfinite(network_context[2, 5:-5, :80]).all()
    assert np.isnan(network_context[2, :, 90:]).all()
    assert np.isfinite(network_context[0]).any()  # advected back from the next scan
    assert network_context[np.isfinite(network_context)].min() >= 0


def test_dry_scans_stay_dry():
    dry = np.zeros((10, 33, 31), np.float32)
    forecast = nowcast(resampling(2.0, 0.25), optical_flow, dry, 7)
    assert forecast.shape == (7, 33, 31)
    np.testing.assert_array_equal(forecast, 0.0)


@pytest.mark.parametrize(
    ("step_min", "pairs"),
    [
        (5.0, [(1, 1), (2, 2), (3, 3), (4, 4)]),
        (2.0, [(3, 1)]),  # every third scan: the second lead time is beyond the end
        (20.0, [(1, 2), (2, 4), (3, 6), (4, 8)]),
    ],
)
def test_lead_times_that_archive_and_network_share(step_min, pairs):
    assert resampling(step_min).common_lead_times(4) == pairs
