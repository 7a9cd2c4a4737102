"""The maps stage: files in, pictures out, ordinary odd inputs, clear refusals."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from pydantic import ValidationError

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.pipeline.maps import run as maps_module
from squall.pipeline.maps.basemap import basemap_for_grid
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.drawing import Caption, Panel, draw_map
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.maps.run import maps, observed_at_valid_times
from squall.pipeline.pictures import MAP_STYLE, RAIN_SCALE

START = pd.Timestamp("2010-08-26 06:00")
KNMI_CRS = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +a=6378137 +b=6356752 +units=m +type=crs"
MELBOURNE_CRS = "+proj=aea +lat_1=-18 +lat_2=-36 +lat_0=-37.852 +lon_0=144.752 +type=crs"
# CRS, x and y of the first pixel, pixel size
GRIDS = {
    "knmi": (KNMI_CRS, 100_000.0, -3_900_000.0, 8000.0),
    "melbourne": (MELBOURNE_CRS, -126_000.0, 126_000.0, 4000.0),
    "geographic": ("EPSG:4326", 3.0, 54.0, 0.06),
}


pytestmark = pytest.mark.usefixtures("gshhg_only")


def forecast_dataset(leads: int = 3, *, grid: str = "knmi", size: int = 64) -> xr.Dataset:
    crs, x, y, step = GRIDS[grid]
    rain = np.zeros((leads + 2, size, size), np.float32)
    for i, scan in enumerate(rain):
        scan[20:30, 10 + 2 * i : 20 + 2 * i] = 3.0
    rain[:, :, -5:] = np.nan
    minutes = np.arange(1, leads + 1) * 5
    lead_time = minutes.astype("timedelta64[m]").astype("timedelta64[ns]")
    attrs = {"units": "mm h-1", "grid_mapping": "spatial_ref"}
    return xr.Dataset(
        {
            "rain_rate": (("lead_time", "y", "x"), rain[2:], attrs),
            "observed_rain_rate": (("context_time", "y", "x"), rain[:2], attrs),
        },
        coords={
            "lead_time": lead_time,
            "time": ("lead_time", START.to_datetime64() + lead_time),
            "forecast_reference_time": START.to_datetime64(),
            "context_time": pd.date_range(end=START, periods=2, freq="5min").values,
            "x": x + np.arange(size) * step,
            "y": y - np.arange(size) * step,
            "spatial_ref": ((), 0, {"crs_wkt": pyproj.CRS(crs).to_wkt()}),
        },
        attrs={
            "archive_title": "Test radar",
            "institution": "Test Office",
            "licence": "CC0",
            "model": "test-model",
            "archive_snapshot": "SNAPSHOT1",
        },
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[[xr.Dataset], MapsConfig]:
    def to_config(forecast: xr.Dataset) -> MapsConfig:
        path = tmp_path / "forecast.nc"
        forecast.to_netcdf(path)
        return MapsConfig(forecast=path, out=tmp_path / "new" / "out", dpi=40)

    return to_config


def caption(kind: str = "forecast", lead_min: float = 35) -> Caption:
    valid = START + pd.Timedelta(minutes=lead_min)
    return Caption(kind, "Test radar", valid, START, "Forecast by test-model", ("a", "b"))


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def drawn_text(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in [*figure.texts, *figure.axes[0].texts])


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share(shown: np.ndarray, colour: str) -> float:
    """Part of the pixels that have a colour."""
    return float((shown == rgb(colour)).all(-1).mean())


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(round(part * 255) for part in to_rgb(colour))


# The stage


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
    # Nothing else, no temporary files either.
    assert sorted(config.out.iterdir()) == sorted([*result.maps, result.overview])
    shown = [load(path) for path in result.maps]
    assert len({picture.shape for picture in shown}) == 1
    with Image.open(result.maps[0]) as image:
        assert image.text["Source"] == "forecast.nc"
        assert image.text["Title"] == "Test radar, forecast, valid 2010-08-26 06:05 UTC"
    # The rain moves right by two pixels a lead time; the colour bar, left out here, does not.
    rain = [(picture == rgb(RAIN_SCALE.colours[4])).all(-1)[:, :280] for picture in shown]
    middles = [np.nonzero(found)[1].mean() for found in rain]
    np.testing.assert_allclose(np.diff(middles), 2 / 64 * 7.2 * 40, atol=2)
    # Rows 20 to 29 of 64 lie in the upper half of the map, which starts 0.75 inches from below.
    from_below = shown[0].shape[0] - np.nonzero(rain[0])[0].mean()
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
            shown = np.asarray(animation.convert("RGB")).reshape(-1, 3).astype(int)
            rain = np.abs(shown - rgb(RAIN_SCALE.colours[4])).max(-1)
            assert (rain <= 4).sum() > 100
    assert durations[-1] > 3 * durations[0]
    assert len(result.maps) == 3


@pytest.mark.parametrize("grid", ["melbourne", "geographic"])
def test_other_grids_are_drawn(write: Callable[[xr.Dataset], MapsConfig], grid: str) -> None:
    result = maps(write(forecast_dataset(1, grid=grid)))
    assert len(result.maps) == 1
    shown = load(result.maps[0])
    for colour in (MAP_STYLE.land, MAP_STYLE.water, RAIN_SCALE.no_radar, RAIN_SCALE.colours[4]):
        assert share(shown, colour) > 0.002


@pytest.mark.parametrize(
    ("value", "note"), [(0.0, "no rain of 0.1 mm h⁻¹ or more"), (np.nan, "no radar data")]
)
def test_dry_and_missing_scans_are_ordinary(
    write: Callable[[xr.Dataset], MapsConfig], value: float, note: str
) -> None:
    forecast = forecast_dataset(2)
    forecast["rain_rate"][:] = value
    forecast["observed_rain_rate"][:] = value
    config = write(forecast).model_copy(update={"animate": True})
    result = maps(config)
    with Image.open(result.animation) as animation:
        assert animation.n_frames == 4
    extent = grid_extent(forecast["x"].values, forecast["y"].values)
    basemap = basemap_for_grid(forecast["spatial_ref"].attrs["crs_wkt"], extent)
    figure = draw_map(forecast["rain_rate"][0], basemap, caption(), dpi=60)
    assert note in drawn_text(figure)
    inside = pixels(figure)[120:220, 50:450]
    if np.isnan(value):
        assert share(inside, RAIN_SCALE.no_radar) > 0.15
        assert share(inside, MAP_STYLE.land) == 0
    else:
        assert share(inside, RAIN_SCALE.no_radar) < 0.01
        assert share(inside, MAP_STYLE.land) + share(inside, MAP_STYLE.water) > 0.8


def panels_of(
    monkeypatch: pytest.MonkeyPatch, config: MapsConfig, observed: xr.DataArray | None = None
) -> list[Panel]:
    seen: list[Panel] = []
    draw = maps_module.draw_overview
    monkeypatch.setattr(
        maps_module,
        "draw_overview",
        lambda panels, *args, **options: seen.extend(panels) or draw(panels, *args, **options),
    )
    maps(config, observed=observed)
    return seen


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


def test_south_up_files_are_turned(write: Callable[[xr.Dataset], MapsConfig]) -> None:
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


# Refusals


def without_crs(forecast: xr.Dataset) -> xr.Dataset:
    forecast["spatial_ref"].attrs.clear()
    return forecast


def in_dbz(forecast: xr.Dataset) -> xr.Dataset:
    forecast["rain_rate"].attrs["units"] = "dBZ"
    return forecast


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop_vars("rain_rate"), "no variable 'rain_rate'"),
        (lambda f: f.drop_vars("observed_rain_rate"), "no variable 'observed_rain_rate'"),
        (lambda f: f.drop_vars("forecast_reference_time"), "'forecast_reference_time'"),
        (lambda f: f.drop_vars("x"), "no variable 'x'"),
        (lambda f: f.expand_dims(member=2), "expected float with dimensions"),
        (lambda f: f.assign_coords(lead_time=[1.0, 2.0, 3.0]), "expected duration"),
        (lambda f: f.isel(lead_time=slice(0)), "none empty"),
        (in_dbz, "units 'dBZ', expected 'mm h-1'"),
        (without_crs, "no 'spatial_ref'"),
        (lambda f: f.assign_coords(x=np.arange(64.0) ** 2), "x is not evenly spaced"),
    ],
)
def test_what_is_not_a_forecast_is_refused(
    write: Callable[[xr.Dataset], MapsConfig],
    spoil: Callable[[xr.Dataset], xr.Dataset],
    message: str,
) -> None:
    config = write(spoil(forecast_dataset()))
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        maps(config)
    assert str(config.forecast) in str(raised.value)
    assert not config.out.exists()


@pytest.mark.parametrize("content", [None, b"", b"this is not netCDF" * 100])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.nc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.nc.*expected a forecast"):
        maps(MapsConfig(forecast=path, out=tmp_path / "out"))


def test_observed_scans_of_another_grid_are_refused(
    write: Callable[[xr.Dataset], MapsConfig],
) -> None:
    forecast = forecast_dataset()
    observed = forecast["rain_rate"].swap_dims(lead_time="time").drop_vars("lead_time")
    config = write(forecast)
    for other in (observed.isel(x=slice(1, None)), observed.assign_coords(x=observed.x + 4000)):
        with pytest.raises(DataError, match="give scans on its grid"):
            maps(config, observed=other)


def test_the_configuration_is_checked() -> None:
    with pytest.raises(ValidationError, match="colour"):
        MapsConfig(forecast="f.nc", out="out", colour="red")
    with pytest.raises(ValidationError, match="dpi"):
        MapsConfig(forecast="f.nc", out="out", dpi=0)


# Beside an archive


def forecast_from(archive: Path, reference: str, folder: Path, leads: int = 6) -> Path:
    """A forecast of nothing on an archive's grid, every five minutes."""
    scans = Archive.open(archive)
    rain = np.zeros((leads + 1, *scans.grid.shape), np.float32)
    minutes = np.arange(1, leads + 1) * 5
    attrs = {"units": "mm h-1", "grid_mapping": "spatial_ref"}
    forecast = xr.Dataset(
        {
            "rain_rate": (("lead_time", "y", "x"), rain[1:], attrs),
            "observed_rain_rate": (("context_time", "y", "x"), rain[:1], attrs),
        },
        coords={
            "lead_time": minutes.astype("timedelta64[m]").astype("timedelta64[ns]"),
            "forecast_reference_time": np.datetime64(reference, "ns"),
            "context_time": [np.datetime64(reference, "ns")],
            **scans.grid.coords(),
        },
    )
    forecast.to_netcdf(folder / "forecast.nc")
    return folder / "forecast.nc"


def at(*times: str) -> list[np.datetime64]:
    return [np.datetime64(f"2024-06-01T{time}", "ns") for time in times]


# The archive has 80 scans from 00:00 on; those of 02:30 to 02:45 never came, 04:10 was rejected.
@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("2024-06-01T01:00", at("01:05", "01:10", "01:15", "01:20", "01:25", "01:30")),
        ("2024-06-01T02:20", at("02:25", "02:50")),
        ("2024-06-01T04:00", at("04:05", "04:15", "04:20", "04:25", "04:30")),
        ("2024-05-31T23:45", at("00:00", "00:05", "00:10", "00:15")),
        ("2024-06-01T06:30", at("06:35")),
        ("2024-06-01T01:02", []),
        ("2023-06-01T01:00", []),
        ("2025-06-01T01:00", []),
    ],
)
def test_observed_are_the_good_scans_at_valid_times(
    rain_archive: Path, tmp_path: Path, reference: str, expected: list[np.datetime64]
) -> None:
    observed = observed_at_valid_times(
        forecast_from(rain_archive, reference, tmp_path), rain_archive
    )
    assert observed.dims == ("time", "y", "x")
    assert observed.attrs["units"] == "mm h-1"
    np.testing.assert_array_equal(observed["time"].values, expected)
    archive = Archive.open(rain_archive)
    for time, scan in zip(expected, observed.values, strict=True):
        index = archive.index_of(pd.Timestamp(time))
        np.testing.assert_array_equal(scan, archive.read(index, 1).values[0])


def test_what_an_archive_observed_is_drawn(
    rain_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T02:20", tmp_path)
    config = MapsConfig(forecast=forecast, out=tmp_path / "out", dpi=40)
    panels = panels_of(monkeypatch, config, observed_at_valid_times(forecast, rain_archive))
    # +10, +15 and +20 min never came
    assert [p.rain_rate_mm_h is None for p in panels] == [True, True, True, False] + 4 * [False]


def test_where_nothing_is_observed_yet_the_context_is_shown(
    rain_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = forecast_from(rain_archive, "2025-06-01T00:00", tmp_path)
    config = MapsConfig(forecast=forecast, out=tmp_path / "out", dpi=40)
    panels = panels_of(monkeypatch, config, observed_at_valid_times(forecast, rain_archive))
    assert [p.caption.kind for p in panels] == ["observed"] + 4 * ["forecast"]
    assert panels[0].caption.since == "latest scan"


def shifted(grid: Grid, x: float) -> Grid:
    return Grid(grid.x + x, grid.y, grid.crs_wkt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda grid: shifted(grid, 500.0), "x coordinates differ by up to 500"),
        (lambda grid: Grid(grid.x[1:], grid.y, grid.crs_wkt), "48×64 pixels instead of 48×63"),
        (lambda grid: Grid(grid.x, grid.y, "EPSG:3413"), "another map projection"),
    ],
)
def test_an_archive_of_another_grid_is_refused(
    rain_archive: Path, tmp_path: Path, change: Callable[[Grid], Grid], message: str
) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    other = change(Archive.open(rain_archive).grid)
    other = Grid(other.x, other.y, pyproj.CRS(other.crs_wkt).to_wkt())
    path = tmp_path / "other.icechunk"
    scan = StoredScan(
        pd.Timestamp("2024-06-01T01:05"), np.zeros(other.shape, np.uint8), "a.nc", "a" * 32
    )
    ArchiveWriter(path, pd.Timedelta("5min"), {"name": "other"}).commit(other, [scan], [], "one")
    with pytest.raises(DataError, match=message) as raised:
        observed_at_valid_times(forecast, path)
    assert str(forecast) in str(raised.value)
    assert str(path) in str(raised.value)


def test_coordinates_in_single_precision_are_the_same_grid(
    rain_archive: Path, tmp_path: Path
) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    with xr.open_dataset(forecast, decode_timedelta=True) as opened:
        rough = opened.load()
    rough = rough.assign_coords(x=rough["x"] + 3.0, y=rough["y"].astype(np.float32))
    rough.to_netcdf(forecast)
    observed = observed_at_valid_times(forecast, rain_archive)
    np.testing.assert_array_equal(observed["x"], rough["x"])
    maps(MapsConfig(forecast=forecast, out=tmp_path / "out", dpi=40), observed=observed)


def test_a_missing_archive_is_named(rain_archive: Path, tmp_path: Path) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    with pytest.raises(DataError, match=r"none\.icechunk: there is no archive"):
        observed_at_valid_times(forecast, tmp_path / "none.icechunk")


def test_a_forecast_without_a_grid_is_refused(rain_archive: Path, tmp_path: Path) -> None:
    path = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    with xr.open_dataset(path, decode_timedelta=True) as opened:
        forecast = opened.load()
    forecast.assign_coords(x=np.arange(64.0) ** 2).to_netcdf(path)
    with pytest.raises(DataError, match=r"forecast\.nc: has no grid to compare scans on: x is not"):
        observed_at_valid_times(path, rain_archive)


# Credits


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
        assert second == f"model test-model · archive snapshot SNAPSHOT1 · coastlines: {credit}"
