"""The Lagrangian probability forecast on the moving blobs of `test_pysteps_methods`."""

import numpy as np
import pytest

from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.errors import DataError
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.lagrangian_method import LagrangianMethod
from squall.pipeline.forecast.methods import Persistence, gives_chances
from squall.pipeline.forecast.pysteps_methods import PystepsMethod
from squall.pipeline.forecast.run import forecast
from tests.pipeline.forecast.test_pysteps_methods import scans

pytest.importorskip("pysteps")
LEVELS = (0.1, 2.0)


def lagrangian(pixel_km=1.0, step_minutes=5.0):
    return LagrangianMethod("lagrangian-probability", pixel_km, step_minutes, 12)


def leads(context, lead_times, **grid):
    return list(lagrangian(**grid).leads_with_chances(context, lead_times, LEVELS))


def test_it_has_chances_of_all_thresholds_and_other_methods_have_none():
    assert gives_chances(lagrangian(), LEVELS)
    assert lagrangian().chance_thresholds(LEVELS) == LEVELS
    assert not gives_chances(Persistence(12), LEVELS)
    assert not gives_chances(PystepsMethod("s-prog", 1.0, 5.0, 12), LEVELS)


def test_rain_is_that_of_the_extrapolation():
    context = scans(4)
    expected = PystepsMethod("pysteps-extrapolation", 1.0, 5.0, 12).nowcast(context, 3)
    np.testing.assert_array_equal(lagrangian().nowcast(context, 3), expected)
    rain = np.stack([fields[0] for fields in leads(context, 3)])
    np.testing.assert_array_equal(rain, expected)


@pytest.mark.parametrize(
    ("grid", "widths_px"),
    [
        ({}, [5, 11, 15]),
        ({"pixel_km": 2.0, "step_minutes": 10.0}, [5, 11, 15]),
        ({"pixel_km": 2.0}, [3, 5, 7]),
        ({"pixel_km": 10.0}, [1, 1, 1]),
    ],
)
def test_a_chance_is_the_share_of_the_pixels_in_a_disc(grid, widths_px):
    context = scans(4)
    context[:, 40:56, 40:56] = np.nan
    rows, columns = np.mgrid[:96, :96]
    for fields, width_px in zip(leads(context, 3, **grid), widths_px, strict=True):
        rain, *chances = fields
        known = ~np.isnan(rain)
        for y, x in ((10, 12), (47, 36), (95, 95), (60, 60)):
            if not known[y, x]:
                assert np.isnan(fields[:, y, x]).all()
                continue
            distance = np.hypot(rows - y, columns - x)
            # pysteps has a square instead of a disc below 5 pixels
            reach = np.maximum(abs(rows - y), abs(columns - x)) if width_px < 5 else distance
            disc = known & (reach <= width_px // 2)
            for level, chance in zip(LEVELS, chances, strict=True):
                assert chance[y, x] == pytest.approx((rain[disc] >= level).mean(), abs=1e-6)


def test_chances_are_those_of_pysteps_where_the_disc_has_an_odd_width():
    from pysteps.motion.lucaskanade import dense_lucaskanade
    from pysteps.nowcasts.lagrangian_probability import forecast

    context = scans(4)
    dbr = np.where(context >= 0.1, 10 * np.log10(np.maximum(context, 0.1)), -15.0)
    # 3 km a step, the widths are 3, 6 (7 here) and 9 pixels
    expected = forecast(dbr[-1].astype(float), dense_lucaskanade(dbr), 3, 10 * np.log10(2), slope=3)
    chances = [fields[2] for fields in leads(context, 3, step_minutes=3.0)]
    for number in (0, 2):
        np.testing.assert_allclose(chances[number], expected[number], atol=1e-6)


def test_dry_scans_have_no_chance_and_a_missing_scan_is_refused():
    dry = leads(np.zeros((4, 32, 32), np.float32), 2)
    assert all((fields == 0).all() for fields in dry)
    context = scans(4)
    context[1] = np.nan
    with pytest.raises(DataError, match="lagrangian-probability needs all"):
        leads(context, 2)


def test_a_forecast_file_has_its_chances(chain, tmp_path):
    dataset = forecast(
        ForecastConfig(
            archive=chain.archive, model="lagrangian-probability", out=tmp_path / "f.nc",
            at="2024-06-01T04:00", lead_times=2,
        )
    )  # fmt: skip
    chances = dataset["probability_of_exceedance"]
    assert chances["threshold"].values.tolist() == pytest.approx(THRESHOLDS_MM_H)
    least = chances.sel(threshold=0.2).values
    assert 0 < np.nanmax(least) <= 1
    assert (np.isnan(least) == np.isnan(dataset["rain_rate"].values)).all()
