"""What a run gives to other programs: CoverageJSON, the STAC item, Zarr, GeoTIFF, maps."""

import json
import re
import sys

import fsspec
import numpy as np
import pandas as pd
import pyproj
import pystac
import pytest
import rasterio
import xarray as xr
from covjson_pydantic.coverage import CoverageCollection
from pydantic import ValidationError
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension

from squall.datasets.archive.archive import Archive
from squall.datasets.grid import proj_parameters
from squall.pipeline.live.config import LiveConfig, Place
from squall.pipeline.live.coverages import at_places
from squall.pipeline.live.states import Order
from squall.pipeline.live.work import Worker
from tests.pipeline.live.test_worker import AT, LEADS, config_of, published
from tests.s3_server import moto_endpoint, s3_server  # noqa: F401 (fixtures)


@pytest.fixture(scope="module", params=[None, 4])
def run(request, chain, tmp_path_factory):
    """Folder of a run, its manifest and the forecast; without and with members."""
    folder = tmp_path_factory.mktemp("live")
    worker = Worker(config_of(folder, members=request.param), str(chain.archive))
    path, manifest = published(folder, worker.make(Order(AT, LEADS)))
    with xr.open_dataset(path / "forecast.nc", decode_timedelta=True) as opened:
        return path, manifest, opened.load()


@pytest.fixture(scope="module")
def rich_run(chain, tmp_path_factory):
    """As `run`, with members and what is made on request."""
    folder = tmp_path_factory.mktemp("live")
    config = config_of(folder, members=4, also=("zarr", "geotiff"))
    path, manifest = published(folder, Worker(config, str(chain.archive)).make(Order(AT, LEADS)))
    with xr.open_dataset(path / "forecast.nc", decode_timedelta=True) as opened:
        return path, manifest, opened.load()


def test_what_is_read_grows_with_the_number_of_places_and_not_with_its_square(run, chain):
    grid = Archive.open(chain.archive).grid
    forecast = run[2]
    lazy = forecast.chunk({"lead_time": 1})  # as the fields of a large grid, which lie in files
    near = {f"{k}": Place(latitude=55.5 + 0.02 * k, longitude=10.8 + 0.03 * k) for k in range(9)}
    places = near | {"far away": Place(latitude=0, longitude=0)}
    for given in (forecast, lazy):
        own_of_places = at_places(given, grid, places)
        assert list(own_of_places) == list(places)
        assert own_of_places.pop("far away") is None
        assert len({own.rain_rate.values.tobytes() for own in own_of_places.values()}) > 1
        for name, own in own_of_places.items():
            row, column = grid.pixel_at(near[name].latitude, near[name].longitude)
            expected = forecast.isel(y=[row], x=[column]).drop_vars(("y", "x"))
            xr.testing.assert_identical(own, expected)
            assert own.rain_rate.values.base.size <= LEADS * len(near)


def test_coverages_hold_the_forecast_at_the_places(run, chain):
    path, manifest, forecast = run
    text = (path / "places.covjson").read_text()
    collection = CoverageCollection.model_validate_json(text)  # CoverageJSON 1.0
    titles = [coverage["title"]["en"] for coverage in json.loads(text)["coverages"]]
    assert titles == ["middle", "far away"]
    middle, far_away = collection.coverages
    row, column = Archive.open(chain.archive).grid.pixel_at(55.6, 10.9)
    own = forecast.isel(y=row, x=column)
    expected = {"chance_at_pixel_0.5": own["probability_of_exceedance"].sel(threshold=0.5)}
    if manifest["members"]:
        around = own["probability_of_exceedance_within_10km"]
        expected |= {
            "rain_rate": own["rain_rate_median"],
            "rain_rate_p10": own["rain_rate_percentile"].sel(percentile=10),
            "rain_rate_p90": own["rain_rate_percentile"].sel(percentile=90),
            "chance_within_10km_2": around.sel(threshold=2),
        }
    else:
        expected["rain_rate"] = own["rain_rate"]
    assert set(expected) <= set(middle.ranges) == set(collection.parameters.root)
    for key, values in expected.items():
        assert middle.ranges[key].values == pytest.approx(values.values, abs=1e-4)
    for values in far_away.ranges.values():
        assert values.values == [None] * LEADS
    times = [pd.Timestamp(time) for time in middle.domain.axes.t.values]
    assert times == [AT.tz_localize("UTC") + n * pd.Timedelta("5min") for n in (1, 2, 3)]


def test_the_item_is_a_stac_item_that_names_every_file(run):
    path, manifest, _ = run
    text = json.loads((path / "item.json").read_text())
    extensions, text["stac_extensions"] = text["stac_extensions"], []
    item = pystac.Item.from_dict(text)
    item.validate()  # the schemas of STAC itself are in pystac; those of extensions are not
    assert [name.split("/")[3] for name in extensions] == ["forecast", "projection", "file"]
    assert item.properties["start_datetime"] == "2024-06-01T04:05:00Z"
    assert item.properties["end_datetime"] == "2024-06-01T04:15:00Z"
    assert item.properties["forecast:reference_datetime"] == "2024-06-01T04:00:00Z"
    assert item.properties["forecast:horizon"] == "PT15M"
    assets = {name: asset.to_dict() for name, asset in item.assets.items()}
    assert all(asset["href"] == f"./{name}" for name, asset in assets.items())
    files = {entry["name"]: entry for entry in manifest["files"]}
    assert set(assets) == set(files) - {"item.json"} | {"manifest.json"}
    for name, entry in files.items():
        if name != "item.json":
            assert assets[name]["file:size"] == entry["bytes"]
            assert assets[name]["file:checksum"] == "1220" + entry["sha256"]
    assert assets["forecast.nc"]["type"] == pystac.MediaType.NETCDF
    assert assets["areas.geojson"]["type"] == pystac.MediaType.GEOJSON


def test_the_item_keeps_the_rules_of_its_extensions(run):
    """By hand, because the schemas of file 2.1, projection 2.0 and forecast 0.1 are on the web."""
    path, _, _ = run
    item = pystac.Item.from_file(path / "item.json")
    for asset in item.assets.values():
        if asset.href != "./manifest.json":  # it is written after the item
            file = FileExtension.ext(asset)
            assert isinstance(file.size, int)
            assert re.fullmatch("1220[0-9a-f]{64}", file.checksum)
    projection = ProjectionExtension.ext(item)
    assert pyproj.CRS.from_wkt(projection.wkt2).is_projected
    assert all(isinstance(side, int) and side > 0 for side in projection.shape)
    assert [type(value) for value in projection.transform] == [float] * 6
    assert re.fullmatch(r"PT\d+(\.\d+)?M", item.properties["forecast:horizon"])
    prefixes = {name.partition(":")[0] for name in item.properties if ":" in name}
    assert prefixes == {"forecast", "proj"}


def test_the_item_says_where_the_grid_lies(run, chain):
    path, manifest, _ = run
    item = pystac.Item.from_file(path / "item.json")
    grid = Archive.open(chain.archive).grid
    width, zero, left, _, height, top = item.properties["proj:transform"]
    assert item.properties["proj:shape"] == [grid.y.size, grid.x.size]
    assert (left + width / 2, zero, top + height / 2) == pytest.approx((grid.x[0], 0, grid.y[0]))
    assert grid.x[-1] == pytest.approx(left + (grid.x.size - 0.5) * width)
    assert grid.y[-1] == pytest.approx(top + (grid.y.size - 0.5) * height)
    corners = np.array(manifest["grid"]["corners_lonlat"])
    west, south, east, north = item.bbox
    assert west <= corners[:, 0].min() + 0.01
    assert east >= corners[:, 0].max() - 0.01
    assert south <= corners[:, 1].min() + 0.01
    assert north >= corners[:, 1].max() - 0.01
    assert item.geometry["type"] == "Polygon"


def test_zarr_is_the_same_as_netcdf(rich_run):
    path, manifest, forecast = rich_run
    zarr = xr.open_zarr(path / "forecast.zarr", zarr_format=3, decode_timedelta=True)
    assert zarr["rain_rate"].encoding["chunks"] == (1, 64, 64)
    xr.testing.assert_equal(zarr.load(), forecast)
    assert zarr.attrs == forecast.attrs
    assert {name: v.dtype for name, v in zarr.variables.items() if v.dtype.kind != "M"} == {
        name: v.dtype for name, v in forecast.variables.items() if v.dtype.kind != "M"
    }
    item = pystac.Item.from_file(path / "item.json")
    assert item.assets["forecast.zarr"].media_type == "application/vnd.zarr; version=3"
    assert not any(name.startswith("forecast.zarr/") for name in item.assets)
    assert any(entry["name"] == "forecast.zarr/zarr.json" for entry in manifest["files"])


def test_zarr_is_whole_on_object_storage(chain, s3_server, tmp_path):  # noqa: F811
    s3_server.bucket("live")
    values = {"publish_to": "s3://live/site", "model": "extrapolation", "also": ("zarr",)}
    worker = Worker(LiveConfig.model_validate(values), str(chain.archive))
    run = worker.make(Order(AT, LEADS))
    files, root = fsspec.core.url_to_fs(f"s3://live/site/runs/{run.id}/forecast.zarr")
    files.get(root, str(tmp_path / "f.zarr"), recursive=True)
    with xr.open_zarr(tmp_path / "f.zarr", zarr_format=3, consolidated=True) as zarr:
        assert zarr.sizes["lead_time"] == LEADS
        assert zarr["rain_rate"].max() > 1


def test_geotiffs_hold_rates_and_chances_where_they_are(rich_run, chain):
    path, _, forecast = rich_run
    grid = Archive.open(chain.archive).grid
    with rasterio.open(path / "geotiff" / "rain_rate.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(file.read(), forecast["rain_rate_median"].values)
        assert np.isnan(file.nodata)
        assert file.descriptions == tuple(f"2024-06-01T04:{n:02}:00Z" for n in (5, 10, 15))
        assert set(file.units) == {"mm h-1"}
        crs = pyproj.CRS.from_wkt(file.crs.to_wkt())
        assert proj_parameters(crs) == proj_parameters(grid.crs)
        assert file.xy(0, 0) == pytest.approx((grid.x[0], grid.y[0]))
        assert file.xy(63, 63) == pytest.approx((grid.x[-1], grid.y[-1]))
    expected = forecast["probability_of_exceedance_within_10km"].sel(threshold=2).values
    with rasterio.open(path / "geotiff" / "chance_within_10km_2.tif") as file:
        codes = file.read()
        known = ~np.isnan(expected)
        np.testing.assert_allclose(codes[known] / 100, expected[known], atol=0.0051)
        assert (codes[~known] == file.nodata).all()
    assert sorted(file.name for file in (path / "geotiff").iterdir()) == [
        *(f"chance_{where}_{t}.tif" for where in ("at_pixel", "within_10km") for t in ("0.5", "2")),
        "rain_rate.tif",
    ]


def test_geotiff_without_rasterio_is_refused_before_work_starts(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ValidationError, match=r"pip install 'squall\[geotiff\]', or leave geotiff"):
        config_of(tmp_path, also=("geotiff",))


def test_maps_are_in_the_run(chain, tmp_path):
    config = config_of(tmp_path, model="extrapolation", alerts=(), also=("maps",))
    path, manifest = published(tmp_path, Worker(config, str(chain.archive)).make(Order(AT, 1)))
    names = {entry["name"] for entry in manifest["files"] if entry["name"].startswith("maps/")}
    assert names == {f"maps/{file.name}" for file in (path / "maps").iterdir()}
    assert any("overview" in name for name in names)
    assert len(names) == 2
