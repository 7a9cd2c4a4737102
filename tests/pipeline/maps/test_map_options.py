"""Amounts, local time, levels, and the animation of observed beside forecast."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.drawing import Caption, draw_map
from squall.pipeline.maps.frames import amounts_of, frames_of, pairs_of
from squall.pipeline.maps.run import maps
from squall.pipeline.pictures import AMOUNT_SCALE, RAIN_SCALE
from tests.pipeline.maps.map_examples import START, drawn_text, forecast_dataset, load, rgb, share
from tests.pipeline.maps.test_drawing import axes_of

pytestmark = pytest.mark.usefixtures("gshhg_only")


def test_an_amount_is_the_sum_of_its_hour() -> None:
    """0 mm/h at the start, 12 mm/h after 5 min, constant for two hours: 11.5 mm and 12 mm."""
    forecast = forecast_dataset(24)
    forecast["observed_rain_rate"][:] = 0
    forecast["rain_rate"][:] = 12
    forecast["rain_rate"][3, 0, 0] = np.nan
    scans, leads = frames_of(forecast, ["credit"])
    first, second = amounts_of(scans[-1], leads)
    assert (first.name, second.name) == ("amount060min", "amount120min")
    assert first.rain_rate_mm_h[5, 5] == pytest.approx(11.5)
    assert second.rain_rate_mm_h[5, 5] == pytest.approx(12)
    assert np.isnan(first.rain_rate_mm_h[0, 0])
    assert second.rain_rate_mm_h[0, 0] == pytest.approx(12)
    assert first.caption.when == "2010-08-26 06:00 to 07:00 UTC"
    assert second.caption.when == "2010-08-26 07:00 to 08:00 UTC"
    assert first.caption.since == "sum of 60 min"


def test_a_forecast_of_less_than_an_hour_has_one_amount() -> None:
    forecast = forecast_dataset(2)
    forecast["observed_rain_rate"][:] = 6
    forecast["rain_rate"][:] = 6
    scans, leads = frames_of(forecast, ["credit"])
    (amount,) = amounts_of(scans[-1], leads)
    assert amount.rain_rate_mm_h[0, 0] == pytest.approx(1)
    assert amount.caption.when == "2010-08-26 06:00 to 06:10 UTC"
    _, _, basemap = axes_of()
    figure = draw_map(amount.rain_rate_mm_h, basemap, amount.caption, scale=AMOUNT_SCALE, dpi=40)
    assert figure.axes[1].get_ylabel() == "Rain amount [mm]"


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Europe/Rome", "Thu 26 Aug 08:35 CEST"),
        ("America/Sao_Paulo", "Thu 26 Aug 03:35 UTC-03"),
        ("Pacific/Auckland", "Thu 26 Aug 18:35 NZST"),
        ("UTC", "Thu 26 Aug 06:35 UTC"),
        (None, ""),
    ],
)
def test_the_local_time_stands_beside_utc(zone: str | None, expected: str) -> None:
    valid = START + pd.Timedelta("35min")
    caption = Caption("forecast", "Radar", valid, START, "by x", (), zone)
    assert caption.local == expected
    _, _, basemap = axes_of()
    text = drawn_text(draw_map(np.zeros((64, 64)), basemap, caption, dpi=40))
    assert "valid 2010-08-26 06:35 UTC" in text
    assert expected in text


def test_levels_replace_the_limits_of_the_colours(
    write: Callable[[xr.Dataset], MapsConfig],
) -> None:
    scale = RAIN_SCALE.with_levels((1, 2, 4))
    assert scale.levels_mm_h == (1, 2, 4)
    assert scale.colours[0] == RAIN_SCALE.colours[0]
    assert scale.colours[-1] == RAIN_SCALE.colours[-1]
    assert len(RAIN_SCALE.with_levels(range(1, 21)).colours) == 20
    assert RAIN_SCALE.with_levels(RAIN_SCALE.levels_mm_h) == RAIN_SCALE
    config = write(forecast_dataset(1)).model_copy(update={"levels": (1.0, 2.0, 4.0)})
    picture = load(maps(config).maps[0])[:, :280]  # the rain of 3 mm/h
    assert share(picture, scale.colours[1]) > 0.01
    assert share(picture, RAIN_SCALE.colours[4]) == 0


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_the_animation_shows_observed_beside_forecast(
    write: Callable[[xr.Dataset], MapsConfig], kind: str
) -> None:
    forecast = forecast_dataset(3)
    observed = forecast["rain_rate"].swap_dims(lead_time="time").drop_vars("lead_time") + 20
    options = {"animate": True, "animation_format": kind, "accumulation": True}
    result = maps(write(forecast).model_copy(update=options), observed=observed.isel(time=[0, 2]))
    assert [path.name[15:] for path in result.maps[-2:]] == ["plus015min.png", "amount015min.png"]
    assert result.animation.suffix == f".{kind}"
    with Image.open(result.animation) as animation:
        assert animation.format == kind.upper()
        assert animation.n_frames == 2 + 3
        animation.seek(2)
        picture = np.asarray(animation.convert("RGB")).astype(int)
    left, right = picture[60:-40, 12:210], picture[60:-40, 220:410]  # 5 inches each
    heavy, light = (
        [(np.abs(half - rgb(RAIN_SCALE.colours[i])).max(-1) <= 4).sum() for half in (left, right)]
        for i in (7, 4)
    )
    assert heavy[0] > 200 > 20 > heavy[1]
    assert light[1] > 20 > light[0]


def test_missing_observations_and_the_time_before_the_forecast_are_empty_panels() -> None:
    scans, leads = frames_of(forecast_dataset(2), ["credit"])
    pairs = pairs_of(scans, leads, {leads[1].caption.valid: leads[1].rain_rate_mm_h})
    kinds = [(pair[0].caption.kind, pair[1].caption.kind) for pair in pairs]
    assert kinds == [("observed", "forecast")] * 4
    assert [pair[0].rain_rate_mm_h is None for pair in pairs] == [False, False, True, False]
    assert [pair[1].rain_rate_mm_h is None for pair in pairs] == [True, True, False, False]
    for left, right in pairs:
        assert left.caption.valid == right.caption.valid
