"""What a run gives to other programs: CoverageJSON, the STAC item."""

import json

import numpy as np
import pandas as pd
import pystac
import pytest
import xarray as xr
from covjson_pydantic.coverage import CoverageCollection

from squall.datasets.archive.archive import Archive
from squall.pipeline.live.states import Order
from squall.pipeline.live.work import Worker
from tests.pipeline.live.test_worker import AT, LEADS, config_of, published


@pytest.fixture(scope="module", params=[None, 4])
def run(request, chain, tmp_path_factory):
    """Folder of a run, its manifest and the forecast; without and with members."""
    folder = tmp_path_factory.mktemp("live")
    worker = Worker(config_of(folder, members=request.param), str(chain.archive))
    path, manifest = published(folder, worker.make(Order(AT, LEADS)))
    with xr.open_dataset(path / "forecast.nc", decode_timedelta=True) as opened:
        return path, manifest, opened.load()


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
