"""Basemaps: shapes in the right place, in any projection, and no use of the network."""

import numpy as np
import pyproj
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from squall.datasets.errors import DataError
from squall.pipeline.maps.basemap import Basemap, add_map_axes, basemap_for_grid
from squall.pipeline.maps.projection import Extent, grid_extent, project
from squall.pipeline.pictures import MAP_STYLE

KNMI_CRS = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +a=6378137 +b=6356752 +units=m +type=crs"
KNMI_EXTENT = Extent(0.0, 700_000.0, -4_415_000.0, -3_650_000.0)
MELBOURNE_CRS = (
    "+proj=aea +lat_1=-18 +lat_2=-36 +lat_0=-37.852 +lon_0=144.752 +ellps=GRS80 +units=m +type=crs"
)
MELBOURNE_EXTENT = Extent(-128_000.0, 128_000.0, -128_000.0, 128_000.0)
# the rotated pole of COSMO: its equator passes central Europe at 50 degrees north, 10 east
ROTATED = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=40 +lon_0=10 +type=crs"

pytestmark = pytest.mark.usefixtures("gshhg_only")


def is_land(basemap: Basemap, crs: str, lon: float, lat: float) -> bool:
    """Whether a place is drawn as land: in land and not in a lake, or on an island."""
    centre = (basemap.extent.x_min + basemap.extent.x_max) / 2
    ((x, y),) = project(pyproj.CRS(crs), np.array([[lon, lat]]), x_centre=centre)
    xy = (x, y)
    inside = [
        shape is not None and shape.contains_point(xy)
        for shape in (basemap.land, basemap.lakes, basemap.islands)
    ]
    return inside[2] or (inside[0] and not inside[1])


def test_grid_extent_is_half_a_pixel_beyond_the_centres() -> None:
    x, y = np.array([500.0, 1500.0, 2500.0]), np.array([40.0, 20.0])
    assert grid_extent(x, y) == Extent(0.0, 3000.0, 10.0, 50.0)


@pytest.mark.parametrize(
    ("x", "message"),
    [([1.0], "x has 1 value"), ([0.0, 1.0, 3.0], "not evenly spaced"), ([2.0, 2.0], "evenly")],
)
def test_an_irregular_grid_has_no_extent(x: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        grid_extent(np.array(x), np.array([0.0, 1.0]))


@pytest.mark.parametrize(
    ("crs", "extent", "places"),
    [
        (
            KNMI_CRS,
            KNMI_EXTENT,
            {(5.18, 52.10): True, (3.5, 52.8): False, (5.4, 52.8): False, (0.5, 52.5): True},
        ),
        (
            MELBOURNE_CRS,
            MELBOURNE_EXTENT,
            {(144.9, -38.15): False, (145.3, -37.6): True, (144.4, -38.8): False},
        ),
        (
            "EPSG:3067",  # Finland: Lake Saimaa is water, Helsinki land, the Gulf not
            Extent(50_000.0, 750_000.0, 6_600_000.0, 7_800_000.0),
            {(28.3, 61.25): False, (24.95, 60.25): True, (25.0, 59.8): False},
        ),
        (
            "EPSG:4326",  # around Viti Levu and 180 degrees, longitudes from 0 to 360
            Extent(175.0, 185.0, -20.0, -14.0),
            {(178.0, -17.8): True, (180.02, -16.85): True, (183.0, -17.0): False},
        ),
        (
            "EPSG:3413",  # the pole in the middle: every longitude
            Extent(-3e6, 3e6, -3e6, 3e6),
            {(-40.0, 72.0): True, (0.0, 89.0): False, (100.0, 70.0): True, (-150.0, 68.0): True},
        ),
        (
            "EPSG:3832",  # Mercator around 150 degrees east: Viti Levu again, beyond 180 too
            Extent(2_900_000.0, 4_100_000.0, -2_150_000.0, -1_550_000.0),
            {(178.0, -17.8): True, (-179.98, -16.85): True, (-177.0, -17.0): False},
        ),
        (
            ROTATED,  # central Europe
            Extent(-8.0, 8.0, -7.0, 7.0),
            {(5.18, 52.10): True, (3.5, 52.8): False, (11.0, 48.1): True, (9.0, 44.2): False},
        ),
        (
            ROTATED,  # the same with rotated longitudes from 352 to 368 degrees
            Extent(352.0, 368.0, -7.0, 7.0),
            {(5.18, 52.10): True, (3.5, 52.8): False, (11.0, 48.1): True, (9.0, 44.2): False},
        ),
    ],
    ids=["netherlands", "melbourne", "finland", "fiji", "arctic", "pacific", "rotated", "rotated+"],
)
def test_land_and_water_are_in_the_right_place(
    crs: str, extent: Extent, places: dict[tuple[float, float], bool]
) -> None:
    basemap = basemap_for_grid(pyproj.CRS(crs).to_wkt(), extent)
    assert {place: is_land(basemap, crs, *place) for place in places} == places


@pytest.mark.parametrize(
    "extent",
    [Extent(-235e3, 213e3, -202e3, 59e3), Extent(-178e3, 288e3, -86e3, 287e3)],
)
def test_land_surrounds_a_pole_without_a_gap(extent: Extent) -> None:
    basemap = basemap_for_grid("EPSG:3031", extent)
    turn = np.radians(np.arange(0.0, 360.0, 0.25))
    assert basemap.land is not None
    ring = 50e3 * np.column_stack([np.sin(turn), np.cos(turn)])
    assert basemap.land.contains_points(ring).all()


def test_lakes_have_the_colour_of_the_sea() -> None:
    crs = "EPSG:3067"
    basemap = basemap_for_grid(crs, Extent(50_000.0, 750_000.0, 6_600_000.0, 7_800_000.0))
    figure = Figure((7, 7), dpi=60)
    axes = add_map_axes(figure, (0, 0, 1, 1), basemap, labels=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    canvas_rgba = np.asarray(canvas.buffer_rgba())[::-1]
    for (lon, lat), colour in {
        (31.3, 60.8): MAP_STYLE.water,  # Lake Ladoga
        (20.3, 62.3): MAP_STYLE.water,  # Gulf of Bothnia
        (23.6, 62.6): MAP_STYLE.land,
    }.items():
        column, row = axes.transData.transform(pyproj.Proj(crs)(lon, lat))
        expected = np.round(np.array(to_rgb(colour)) * 255)
        np.testing.assert_array_equal(canvas_rgba[int(row), int(column), :3], expected)


def test_shapes_are_cut_to_the_grid() -> None:
    basemap = basemap_for_grid(MELBOURNE_CRS, MELBOURNE_EXTENT)
    points = np.concatenate(basemap.coastlines)
    assert np.abs(points).max() < 2 * MELBOURNE_EXTENT.x_max
    assert len(points) < 2000


def test_no_coast_is_drawn_along_180_degrees() -> None:
    basemap = basemap_for_grid("EPSG:4326", Extent(170.0, 190.0, 60.0, 72.0))
    assert basemap.coastlines
    for line in basemap.coastlines:
        on_seam = np.isclose(line[:, 0], 180)
        assert not (on_seam[1:] & on_seam[:-1]).any()


def test_a_map_of_open_ocean_can_be_drawn() -> None:
    basemap = basemap_for_grid("EPSG:4326", Extent(-32.0, -30.0, -32.0, -30.0))
    assert basemap.land is None
    figure = Figure(dpi=50)
    add_map_axes(figure, (0.1, 0.1, 0.8, 0.8), basemap)
    FigureCanvasAgg(figure).draw()


def test_ticks_lie_where_the_grid_lines_leave_the_map() -> None:
    basemap = basemap_for_grid(KNMI_CRS, KNMI_EXTENT)
    to_lonlat = pyproj.Transformer.from_crs(
        KNMI_CRS, pyproj.CRS(KNMI_CRS).geodetic_crs, always_xy=True
    )
    for x, label in basemap.x_ticks:
        lon, _ = to_lonlat.transform(x, KNMI_EXTENT.y_min)
        assert f"{abs(round(lon, 3)):g}°" + "E" * (lon > 0.001) == label
    for y, label in basemap.y_ticks:
        _, lat = to_lonlat.transform(KNMI_EXTENT.x_min, y)
        assert f"{round(lat, 3):g}°N" == label
    assert len(basemap.x_ticks) >= 3
    assert len(basemap.y_ticks) >= 2


def test_ticks_name_the_southern_and_western_half() -> None:
    melbourne = basemap_for_grid(MELBOURNE_CRS, MELBOURNE_EXTENT)
    assert {tick.label for tick in melbourne.y_ticks} >= {"38°S", "37.5°S"}
    fiji = basemap_for_grid("EPSG:4326", Extent(175.0, 185.0, -20.0, -14.0))
    assert [tick.label for tick in fiji.x_ticks] == ["176°E", "178°E", "180°", "178°W", "176°W"]


def test_geographic_maps_are_as_wide_as_the_ground() -> None:
    basemap = basemap_for_grid("EPSG:4326", Extent(0.0, 10.0, 55.0, 65.0))
    assert basemap.aspect == pytest.approx(2.0)
    assert basemap_for_grid(KNMI_CRS, KNMI_EXTENT).aspect == 1.0


def test_a_grid_of_a_rotated_pole_has_true_degrees_at_its_edges() -> None:
    plain = basemap_for_grid(ROTATED, Extent(-8.0, 8.0, -7.0, 7.0))
    turned = basemap_for_grid(ROTATED, Extent(352.0, 368.0, -7.0, 7.0))
    assert plain.aspect == pytest.approx(1.0)
    for basemap, turn in ((plain, 0), (turned, 360)):
        labels = {tick.label: tick.position - turn for tick in basemap.x_ticks}
        assert labels["10°E"] == pytest.approx(0.0, abs=0.01)
        assert -8 < labels["5°E"] < -3
    assert "50°N" in {tick.label for tick in plain.y_ticks}


def test_axes_are_in_the_grids_own_projection() -> None:
    basemap = basemap_for_grid(KNMI_CRS, KNMI_EXTENT)
    axes = add_map_axes(Figure(), (0.1, 0.1, 0.8, 0.8), basemap)
    assert pyproj.CRS(axes.projection.to_wkt()).coordinate_operation.method_name.startswith("Polar")
    assert axes.get_xlim() == (KNMI_EXTENT.x_min, KNMI_EXTENT.x_max)
    assert axes.get_ylim() == (KNMI_EXTENT.y_min, KNMI_EXTENT.y_max)
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == ["0°", "2°E"]


def test_one_grid_is_read_once() -> None:
    assert basemap_for_grid(KNMI_CRS, KNMI_EXTENT) is basemap_for_grid(KNMI_CRS, KNMI_EXTENT)


@pytest.mark.parametrize(
    ("crs", "message"),
    [
        ("no CRS at all", "cannot be read"),
        ("EPSG:4978", "is no map projection"),  # geocentric
    ],
)
def test_a_crs_without_a_map_is_refused(crs: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        basemap_for_grid(crs, Extent(0.0, 1.0, 0.0, 1.0))
