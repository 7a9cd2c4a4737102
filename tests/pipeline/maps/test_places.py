"""Names of places on maps, read from CSV and GeoJSON."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from pydantic import ValidationError

from squall.datasets.errors import DataError
from squall.pipeline.maps.basemap import add_map_axes, basemap_for_grid
from squall.pipeline.maps.cities import largest_cities
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.drawing import draw_map
from squall.pipeline.maps.places import Place, add_places, read_places
from squall.pipeline.maps.projection import Extent
from squall.pipeline.maps.run import maps
from tests.pipeline.maps.map_examples import caption, forecast_dataset, load
from tests.pipeline.maps.test_basemap import ROTATED
from tests.pipeline.maps.test_drawing import axes_of

pytestmark = pytest.mark.usefixtures("gshhg_only")


@pytest.mark.parametrize(
    "text",
    [
        "name,lat,lon\nDe Bilt,52.1,5.18\n",
        "\ufefflon;Latitude;Name;people\n5.18;52.1;De Bilt;40000\n\n",
        "City\tlng\tlat\nDe Bilt\t5.18\t52.1\n",
    ],
)
def test_csv_with_columns_in_any_order(tmp_path: Path, text: str) -> None:
    path = tmp_path / "places.csv"
    path.write_text(text, encoding="utf-8")
    assert read_places(path) == [Place("De Bilt", 5.18, 52.1)]


def test_points_of_geojson(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [5.18, 52.1, 2]}
    features = [
        {"type": "Feature", "properties": {"NAME": "De Bilt"}, "geometry": point},
        {"type": "Feature", "properties": {}, "geometry": {"type": "LineString"}},
    ]
    path = tmp_path / "places.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_places(path) == [Place("De Bilt", 5.18, 52.1)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "", "no column name and lat and lon"),
        ("p.csv", "name,lat\nA,1\n", "no column lon"),
        ("p.csv", "name,lat,lon\n", "holds no place"),
        ("p.csv", "name,lat,lon\nA,120,5\n", "line 2: 'A' has latitude '120'"),
        ("p.csv", 'name,lat,lon\nA,"52,1",5\n', "with a point"),
        ("p.csv", "name,lat,lon\nA,52\n", "line 2"),
        ("p.csv", "name,lat,lon\n ,52,5\n", "line 2: has no name"),
        ("p.csv", "name,lat,lon\nA,nan,5\n", "latitude 'nan'"),
        ("p.geojson", "{", "no GeoJSON"),
        ("p.geojson", '{"type": "Point"}', "no GeoJSON"),
        ("p.geojson", '{"features": [1]}', "no GeoJSON"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_places(path)


def test_a_file_in_another_encoding_or_a_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_bytes("name,lat,lon\nKöln,50.9,6.9\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_places(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_places(tmp_path)


def test_names_are_on_the_map_at_their_place_and_do_not_overlap() -> None:
    _, _, basemap = axes_of("geographic")  # 3 to 6.8 degrees east, 50.2 to 54 degrees north
    places = [
        Place("$ De Bilt", 5.0, 52.0),
        Place("Covered", 5.01, 52.0),
        Place("East", 6.7, 51.0),
        Place("Far away", 20.0, 52.0),
    ]
    figure = draw_map(np.zeros((64, 64)), basemap, caption(), places=places, dpi=80)
    figure.canvas.draw()
    axes = figure.axes[0]
    labels = {t.get_text(): t for t in axes.texts}
    assert {"$ De Bilt", "East"} < set(labels)
    assert "Covered" not in labels
    assert "Far away" not in labels
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == [5.0, 5.01, 6.7]
    assert axes.get_xlim() == (basemap.extent.x_min, basemap.extent.x_max)
    box = labels["$ De Bilt"].get_window_extent()
    dot_x, dot_y = axes.transData.transform((5.0, 52.0))
    assert 1 < box.x0 - dot_x < 10
    assert box.y0 < dot_y < box.y1
    assert labels["East"].get_window_extent().x1 < axes.get_window_extent().x1


def cities_of(crs: str, extent: Extent) -> list[str]:
    return [place.name for place in largest_cities(basemap_for_grid(crs, extent))]


@pytest.mark.parametrize(
    ("crs", "extent", "expected", "absent"),
    [
        ("EPSG:4326", Extent(3.0, 7.5, 50.5, 54.0), {"Amsterdam", "Brussels"}, {"Paris"}),
        ("EPSG:4326", Extent(172.0, 182.0, -48.0, -34.0), {"Auckland", "Wellington"}, set()),
        ("EPSG:4326", Extent(230.0, 300.0, 24.0, 50.0), {"New York City", "Chicago"}, {"Brooklyn"}),
        ("EPSG:4326", Extent(6.0, 15.0, 47.0, 55.0), {"Leipzig", "Berlin"}, {"Kleinzschocher"}),
        ("EPSG:4326", Extent(-91.5, -88.0, 33.5, 36.5), {"Memphis"}, {"New South Memphis"}),
        (ROTATED, Extent(352.0, 368.0, -7.0, 7.0), {"Milan", "Berlin"}, {"Madrid", "Rome"}),
        ("EPSG:4326", Extent(-32.0, -30.0, -32.0, -30.0), set(), set()),  # open ocean
    ],
    ids=["netherlands", "date line", "0 to 360", "germany", "tennessee", "rotated", "ocean"],
)
def test_the_largest_cities_of_the_map_are_named(
    crs: str, extent: Extent, expected: set[str], absent: set[str]
) -> None:
    names = cities_of(crs, extent)
    assert expected <= set(names)
    assert not absent & set(names)
    assert len(names) == len(set(names)) <= 20


def test_default_cities_keep_a_distance_and_a_smaller_map_names_smaller_towns() -> None:
    extent = Extent(3.0, 7.5, 50.5, 54.0)
    places = largest_cities(basemap_for_grid("EPSG:4326", extent))
    for one, other in itertools.combinations(places, 2):
        apart = math.hypot((one.lon - other.lon) * 0.61, one.lat - other.lat)
        assert apart > 0.1 * math.sqrt(4.5 * 0.61 * 3.5)
    assert "Gouda" not in {place.name for place in places}
    assert "Gouda" in cities_of("EPSG:4326", Extent(4.5, 5.0, 51.85, 52.15))


def test_an_optional_place_without_room_leaves_no_dot() -> None:
    places = [Place("De Bilt", 5.0, 52.0), Place("Covered", 5.01, 52.0)]
    for is_optional, dots in ((False, 2), (True, 1)):
        _, _, basemap = axes_of("geographic")
        axes = add_map_axes(Figure(dpi=80), (0, 0, 1, 1), basemap, labels=False)
        add_places(axes, basemap, [place._replace(is_optional=is_optional) for place in places], 8)
        assert sum(line.get_marker() == "o" for line in axes.lines) == dots


def test_no_name_is_cut_by_the_edge_of_the_map() -> None:
    _, _, basemap = axes_of("geographic")  # 3 to 6.8 degrees east
    axes = add_map_axes(Figure((2, 2), dpi=80), (0, 0, 1, 1), basemap, labels=False)
    assert add_places(axes, basemap, [Place("A name of some length", 5.5, 52.0)], 8) == 1
    assert axes.texts[0].get_window_extent().x1 <= axes.bbox.x1


def test_maps_name_cities_unless_the_user_says_none(write: Callable[..., MapsConfig]) -> None:
    config = write(forecast_dataset(1))
    seen = []
    for places in (None, Path("none")):
        (path,) = maps(config.model_copy(update={"places": places, "dpi": 80})).maps
        seen.append(load(path))
    assert (seen[0] != seen[1]).any()
    with pytest.raises(ValidationError, match="no such file"):
        MapsConfig(forecast=config.forecast, out=config.out, places="nowhere.csv")
