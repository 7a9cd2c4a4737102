"""The maps stage: its files, other grids, dry and missing scans, the overview and the credits."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from pydantic import ValidationError

from squall.pipeline.maps import run as maps_module
from squall.pipeline.maps.basemap import Basemap, basemap_for_grid
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.drawing import draw_map
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.maps.run import maps
from squall.pipeline.pictures import MAP_STYLE, RAIN_SCALE
from tests.pipeline.maps.map_examples import (
    caption,
    drawn_text,
    forecast_dataset,
    load,
    panels_of,
    pixels,
    rgb,
    share,
)

pytestmark = pytest.mark.usefixtures("gshhg_only")


def test_a_forecast_becomes_sorted_maps_and_an_overview(
    write: Callable[[xr.Dataset], MapsConfig],
) -> None:
    config = write(forecast_dataset(leads=12))
    result = maps(config)
    names = [path.name for path in result.maps]
    assert names[:2] == ["20100826T0600Z_plus005min.png", "20100826T0600Z_plus010min.png"]
    assert len(names) == 12
    assert names == sorted(names)
    assert result.overview.name == "20100826T0600Z_overview.png"
    assert result.animation is None
    # No other file, and no temporary file.
    assert sorted(config.out.iterdir()) == sorted([*result.maps, result.overview])
    pictures = [load(path) for path in result.maps]
    assert len({picture.shape for picture in pictures}) == 1
    with Image.open(result.maps[0]) as image:
        assert image.text["Source"] == "forecast.nc"
        assert image.text["Title"] == "Test radar, forecast, valid 2010-08-26 06:05 UTC"
    # Rain moves right by two pixels in each lead time; the colour bar is left out.
    rain = [(picture == rgb(RAIN_SCALE.colours[4])).all(-1)[:, :280] for picture in pictures]
    middles = [np.nonzero(is_rain)[1].mean() for is_rain in rain]
    np.testing.assert_allclose(np.diff(middles), 2 / 64 * 7.2 * 40, atol=2)
    # Rows 20 to 29 of 64 lie in the upper half of the map, which starts 0.75 inches from below.
    from_below = pictures[0].shape[0] - np.nonzero(rain[0])[0].mean()
    np.testing.assert_allclose(from_below, (0.75 + 39 / 64 * 7.2) * 40, atol=5)


def test_fractions_of_minutes_get_their_own_names(
    write: Callable[[xr.Dataset], MapsConfig],
) -> None:
    forecast = forecast_dataset(2)
    seconds = np.array([150, 300]).astype("timedelta64[s]").astype("timedelta64[ns]")
    result = maps(write(forecast.assign_coords(lead_time=seconds)))
    assert [p.name[15:] for p in result.maps] == ["plus002.50min.png", "plus005.00min.png"]


def test_the_animation_has_every_scan_and_lead_time(
    write: Callable[[xr.Dataset], MapsConfig],
) -> None:
    config = write(forecast_dataset(leads=3)).model_copy(update={"animate": True})
    result = maps(config)
    assert result.animation is not None
    assert result.animation.name == "20100826T0600Z_animation.gif"
    with Image.open(result.animation) as animation:
        assert animation.n_frames == 2 + 3
        assert animation.info["loop"] == 0
        durations = []
        for i in range(5):
            animation.seek(i)
            durations.append(animation.info["duration"])
            colours = np.asarray(animation.convert("RGB")).reshape(-1, 3).astype(int)
            rain = np.abs(colours - rgb(RAIN_SCALE.colours[4])).max(-1)
            assert (rain <= 4).sum() > 100
    assert durations[-1] > 3 * durations[0]
    assert len(result.maps) == 3


@pytest.mark.parametrize("grid", ["melbourne", "geographic"])
def test_other_grids_are_drawn(write: Callable[[xr.Dataset], MapsConfig], grid: str) -> None:
    result = maps(write(forecast_dataset(1, grid=grid)))
    assert len(result.maps) == 1
    picture = load(result.maps[0])
    for colour in (MAP_STYLE.land, MAP_STYLE.water, RAIN_SCALE.no_radar, RAIN_SCALE.colours[4]):
        assert share(picture, colour) > 0.002


@pytest.mark.parametrize(
    ("value", "note"), [(0.0, "no rain of 0.1 mm h⁻¹ or more"), (np.nan, "nothing observed")]
)
def test_dry_and_missing_scans_are_drawn_with_a_note(
    write: Callable[[xr.Dataset], MapsConfig], value: float, note: str
) -> None:
    forecast = forecast_dataset(2)
    forecast["rain_rate"][:] = value
    forecast["observed_rain_rate"][:] = value
    config = write(forecast).model_copy(update={"animate": True})
    result = maps(config)
    with Image.open(result.animation) as animation:
        assert animation.n_frames == 4
    figure = draw_map(forecast["rain_rate"][0], basemap_of(forecast), caption(), dpi=60)
    assert note in drawn_text(figure)
    inside = pixels(figure)[120:220, 50:450]
    if np.isnan(value):
        assert share(inside, RAIN_SCALE.no_radar) > 0.15
        assert share(inside, MAP_STYLE.land) == 0
    else:
        assert share(inside, RAIN_SCALE.no_radar) < 0.01
        assert share(inside, MAP_STYLE.land) + share(inside, MAP_STYLE.water) > 0.8


def test_no_radar_and_no_forecast_are_told_apart(
    write: Callable[[xr.Dataset], MapsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last columns were never observed; the first rows were, and are not forecast."""
    forecast = forecast_dataset(1)
    forecast["rain_rate"][:, :20] = np.nan
    result = maps(write(forecast))
    unknown = (RAIN_SCALE.no_radar, RAIN_SCALE.no_forecast)
    radar, outlook = (share(load(result.maps[0])[:200], colour) for colour in unknown)
    assert outlook > 1.5 * radar > 0.003
    # On an observed scan, the unknown pixels were not observed.
    forecast["observed_rain_rate"][1, :20] = np.nan
    panels = panels_of(monkeypatch, write(forecast))
    assert [panel.is_covered is None for panel in panels] == [True, True, False]
    assert panels[-1].is_covered[:20].any()
    basemap = basemap_of(forecast)
    figure = draw_map(forecast["observed_rain_rate"][1], basemap, caption("observed"), dpi=40)
    assert share(pixels(figure)[:, :300], RAIN_SCALE.no_forecast) == 0
    words = {text.get_text() for text in figure.texts}
    assert "not observed" in words
    assert not words & {"no radar", "no forecast"}
    figure = draw_map(forecast["rain_rate"][0], basemap, caption(), dpi=40)
    assert {"no radar", "no forecast"} <= {text.get_text() for text in figure.texts}


def test_a_forecast_of_nothing_from_observed_scans_says_so() -> None:
    forecast = forecast_dataset(1)
    rain = np.full((64, 64), np.nan, np.float32)
    covered = np.ones((64, 64), bool)
    figure = draw_map(rain, basemap_of(forecast), caption(), is_covered=covered, dpi=40)
    assert "no forecast: unknown everywhere" in drawn_text(figure)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("", ""),
        ("2010-08-26T05:50:00", ", without the scans of 05:50 UTC"),
        (
            "2010-08-26T05:50:00Z, 2010-08-26T05:55:00Z",
            ", without the scans of 05:50, 05:55 UTC",
        ),
        (["2010-08-26T05:50", "2010-08-26T05:55"], ", without the scans of 05:50, 05:55 UTC"),
        ("unknown", ", without the scans of unknown UTC"),
    ],
)
def test_the_caption_names_missing_scans(
    write: Callable[[xr.Dataset], MapsConfig],
    monkeypatch: pytest.MonkeyPatch,
    missing: object,
    expected: str,
) -> None:
    config = write(forecast_dataset(1).assign_attrs(missing_context=missing))
    panels = panels_of(monkeypatch, config)
    assert panels[-1].caption.origin == f"Forecast by test-model{expected}"


def basemap_of(forecast: xr.Dataset) -> Basemap:
    extent = grid_extent(forecast["x"].values, forecast["y"].values)
    return basemap_for_grid(forecast["spatial_ref"].attrs["crs_wkt"], extent)


def test_the_overview_shows_observed_above_forecast(
    write: Callable[[xr.Dataset], MapsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = forecast_dataset(leads=12)
    observed = forecast["rain_rate"].swap_dims(lead_time="time").drop_vars("lead_time") + 1
    # South up, and without the scan at +45 min.
    observed = observed.isel(time=[i for i in range(12) if i != 8], y=slice(None, None, -1))
    panels = panels_of(monkeypatch, write(forecast), observed)
    assert [(p.row, p.column, p.caption.kind, p.caption.lead) for p in panels] == [
        (row, column, kind, f"+{15 * (column + 1)} min")
        for row, kind in enumerate(["observed", "forecast"])
        for column in range(4)
    ]
    assert [p.rain_rate_mm_h is None for p in panels] == [False, False, True] + 5 * [False]
    np.testing.assert_array_equal(panels[0].rain_rate_mm_h, panels[4].rain_rate_mm_h + 1)


def test_without_observed_the_overview_shows_the_context_on_the_left(
    write: Callable[[xr.Dataset], MapsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = panels_of(monkeypatch, write(forecast_dataset(leads=3)))
    assert [(p.row, p.column, p.caption.kind, p.caption.lead) for p in panels] == [
        (0, 0, "observed", "-5 min"),
        (1, 0, "observed", "+0 min"),
        (0, 1, "forecast", "+5 min"),
        (0, 2, "forecast", "+10 min"),
        (1, 1, "forecast", "+15 min"),
    ]


def test_files_with_south_at_the_top_are_flipped(write: Callable[[xr.Dataset], MapsConfig]) -> None:
    forecast = forecast_dataset(1)
    config = write(forecast)
    expected = maps(config).maps[0].read_bytes()
    config.forecast.unlink()
    write(forecast.isel(y=slice(None, None, -1), x=slice(None, None, -1)))
    assert maps(config).maps[0].read_bytes() == expected


def test_a_failed_write_leaves_the_old_map(
    write: Callable[[xr.Dataset], MapsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(forecast_dataset(1))
    before = maps(config).maps[0].read_bytes()
    save = Image.Image.save

    def fail_late(image: Image.Image, stream: object, *args: object, **options: object) -> None:
        save(image, stream, *args, **options)
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail_late)
    with pytest.raises(OSError, match="disk full"):
        maps(config.model_copy(update={"dpi": 50}))
    assert (config.out / "20100826T0600Z_plus005min.png").read_bytes() == before
    assert len(list(config.out.iterdir())) == 2


def test_the_configuration_is_checked() -> None:
    with pytest.raises(ValidationError, match="colour"):
        MapsConfig(forecast="f.nc", out="out", colour="red")
    with pytest.raises(ValidationError, match="dpi"):
        MapsConfig(forecast="f.nc", out="out", dpi=0)


def test_the_footer_credits_radar_and_geodata(
    write: Callable[[xr.Dataset], MapsConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = write(forecast_dataset(1))
    for credit in ("GSHHG", "Natural Earth"):
        monkeypatch.setattr(
            maps_module,
            "basemap_for_grid",
            lambda crs, extent, credit=credit: replace(
                basemap_for_grid(crs, extent), credit=credit
            ),
        )
        first, second = panels_of(monkeypatch, config)[-1].caption.footer
        assert first == "Radar data: Test Office, CC0"
        assert second == (
            f"model test-model · archive snapshot SNAPSHOT1 · coastlines: {credit}"
            " · places: GeoNames, CC BY 4.0"
        )
