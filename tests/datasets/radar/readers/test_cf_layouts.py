"""Layouts are kept and reused: a file must never be read with the layout of a different file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest

from squall.datasets.radar.radar_file import FileReport, read_file
from squall.datasets.radar.readers import cf_layout
from tests.datasets.radar.radar_files import NOON, RATE, Write, config, scan_of

BASE: dict[str, Any] = {
    "numbers": np.array([[[0, 50, 100], [200, 1000, 5000]]], np.int16),
    "attributes": {
        "scale_factor": 0.01,
        "add_offset": 0.0,
        "valid_range": np.array([0, 6000], np.int16),
        "missing_value": np.array([-9, -8], np.int16),
    },
    "fill": np.int16(-1),
}


def described(**changes: Any) -> dict[str, Any]:
    return {"attributes": BASE["attributes"] | changes}


# property -> arguments of a file that differs from BASE only in it
OTHERS: dict[str, dict[str, Any]] = {
    "scale_factor": described(scale_factor=0.02),
    "scale_factor in the 12th digit": described(scale_factor=0.01 + 1e-14),
    "add_offset": described(add_offset=1.0),
    "fill": {"fill": np.int16(50)},
    "no fill": {"fill": None},
    "missing_value": described(missing_value=np.array([-9, 100], np.int16)),
    "valid_range": described(valid_range=np.array([0, 900], np.int16)),
    "valid_range of floats": described(valid_range=np.array([0.0, 10.0])),
    "valid_range in the 10th digit": described(valid_range=np.array([0.0, 50.000000001])),
    "_Unsigned": described(_Unsigned="true"),
    "units": {"units": "mm min-1"},
    "type": {"numbers": BASE["numbers"].astype(np.int32)},
    "x half a pixel further": {"x": np.arange(3) * 1000.0 + 500},
    "x a millimetre further": {"x": np.arange(3) * 1000.0 + 1e-3},
    "x in kilometres": {"coordinate_units": "km"},
    "y the other way": {"y": [0.0, 1000.0]},
    "columns the other way": {"x": [2000.0, 1000.0, 0.0]},
    "order of dimensions": {
        "numbers": BASE["numbers"].swapaxes(1, 2).copy(), "dims": ("time", "x", "y"),
    },
    "no time dimension": {"numbers": BASE["numbers"][0], "dims": ("y", "x"), "scalar_time": True},
    "names of the axes": {
        "numbers": np.arange(9, dtype=np.int16).reshape(1, 3, 3) * 100,
        "x": np.arange(3) * 1000.0,
        "y": np.arange(3)[::-1] * 1000.0,
    },
    "bounds": {"interval": "5min", "bounds": True},
    "a start": {"interval": "10min"},
    "name of the time": {"time_name": "valid_time"},
    "calendar": {"time_attributes": {"calendar": "proleptic_gregorian"}},
}  # fmt: skip
PROJECTION = {"standard_parallel": 61.0, "false_easting": 10.0, "semi_major_axis": 6378137.000001}


@pytest.fixture(autouse=True)
def no_kept_layouts() -> Iterator[None]:
    cf_layout._layouts.clear()
    yield
    cf_layout._layouts.clear()


def same_scans(a: FileReport, b: FileReport) -> bool:
    assert a.grid is not None
    assert b.grid is not None
    return (
        [s.time for s in a.scans] == [s.time for s in b.scans]
        and all(np.array_equal(s.codes, t.codes) for s, t in zip(a.scans, b.scans, strict=True))
        and (a.grid.x.tobytes(), a.grid.y.tobytes(), a.grid.crs_wkt)
        == (b.grid.x.tobytes(), b.grid.y.tobytes(), b.grid.crs_wkt)
    )


def read_alone(path: str) -> FileReport:
    """Read a file without layouts kept from other files."""
    cf_layout._layouts.clear()
    report = read_file(path, config(accumulation="5min"))
    assert report.rejected == []
    return report


def read_together(*paths: str) -> list[FileReport]:
    cf_layout._layouts.clear()
    return [read_file(path, config(accumulation="5min")) for path in paths]


@pytest.mark.parametrize("what", OTHERS)
def test_files_that_differ_in_one_property_have_different_layouts(
    tmp_path: Path, write_radar: Write, what: str
) -> None:
    first = write_radar(tmp_path / "a.nc", **BASE)
    other = write_radar(tmp_path / "b.nc", **(BASE | OTHERS[what]))
    expected = [read_alone(first), read_alone(other)]
    for order in ([0, 1, 0], [1, 0, 1]):
        reports = read_together(*[(first, other)[i] for i in order])
        assert len(cf_layout._layouts) == 2
        for i, report in zip(order, reports, strict=True):
            assert report.rejected == []
            assert same_scans(report, expected[i]), (what, order, i)


@pytest.mark.parametrize("attribute", PROJECTION)
def test_files_with_different_projections_have_different_layouts(
    tmp_path: Path, write_radar: Write, attribute: str
) -> None:
    from tests.conftest import POLAR

    first = write_radar(tmp_path / "a.nc", RATE)
    changed = POLAR | {attribute: PROJECTION[attribute]}
    other = write_radar(tmp_path / "b.nc", RATE, grid_mapping=changed)
    expected = [read_alone(first), read_alone(other)]
    assert not same_scans(*expected)
    for order in ([0, 1], [1, 0]):
        for i, report in zip(
            order, read_together(*[(first, other)[i] for i in order]), strict=True
        ):
            assert same_scans(report, expected[i])


def test_arrays_in_attributes_are_compared_exactly(tmp_path: Path, write_radar: Write) -> None:
    """NumPy prints arrays with eight digits, or with the number set by ``printoptions``."""
    close = [np.array([0.0, 50.0]), np.array([0.0, 50.0 + 1e-9])]
    paths = [
        write_radar(tmp_path / f"{i}.nc", RATE, attributes={"valid_range": limits})
        for i, limits in enumerate(close)
    ]
    with np.printoptions(precision=1):
        read_together(*paths)
    assert len(cf_layout._layouts) == 2


def test_similar_files_share_a_layout(
    tmp_path: Path, write_radar: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_layouts: list[str] = []
    original: Callable[..., Any] = cf_layout._find_layout
    monkeypatch.setattr(
        cf_layout, "_find_layout", lambda *a: found_layouts.append(a[0]) or original(*a)
    )
    units = ["seconds since 1970-01-01", "minutes since 2024-06-01", "hours since 2024-06-01 06:00"]
    numbers = [NOON.timestamp(), 720.0, 6.0]
    for i, (unit, number) in enumerate(zip(units, numbers, strict=True)):
        path = write_radar(tmp_path / f"{i}.nc", RATE + i, time_attributes={"units": unit})
        with netCDF4.Dataset(path, "a") as file:
            file["time"][:] = number
        np.testing.assert_allclose(scan_of(path), np.where(RATE + i < 0.08, 0, RATE + i), rtol=0.02)
    assert len(found_layouts) == 1


def test_files_with_different_numbers_of_scans_share_a_layout(
    tmp_path: Path, write_radar: Write
) -> None:
    for count in (1, 3, 2):
        times = [(NOON + i * pd.Timedelta("5min")).isoformat() for i in range(count)]
        numbers = np.stack([RATE + i for i in range(count)])
        path = write_radar(tmp_path / f"{count}.nc", numbers, times=times, unlimited=True)
        report = read_file(path, config())
        assert [scan.time.isoformat() for scan in report.scans] == times
    assert len(cf_layout._layouts) == 1


def test_files_of_different_shapes_have_different_layouts(
    tmp_path: Path, write_radar: Write
) -> None:
    shapes = [(2, 3), (2, 4), (3, 3), (3, 2)]
    for shape in shapes * 2:
        path = write_radar(tmp_path / "a.nc", np.ones(shape))
        report = read_file(path, config())
        assert report.grid is not None
        assert report.grid.shape == shape
        assert report.scans[0].codes is not None
        assert report.scans[0].codes.shape == shape
    assert len(cf_layout._layouts) == len(shapes)


def test_each_configuration_has_its_own_layouts(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)
    read_file(path, config())
    grid = read_file(path, config(crs="EPSG:3067")).grid
    assert grid is not None
    assert grid.crs.to_epsg() == 3067


def test_the_layout_of_a_broken_file_is_not_kept(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, attributes={"scale_factor": np.nan})
    assert read_file(path, config()).scans == []
    assert not cf_layout._layouts


def test_the_number_of_kept_layouts_is_limited(tmp_path: Path, write_radar: Write) -> None:
    for i in range(70):
        path = write_radar(tmp_path / "a.nc", RATE, attributes={"number": i})
        assert len(read_file(path, config()).scans) == 1
    assert len(cf_layout._layouts) <= 65


def test_a_coordinate_of_texts(tmp_path: Path, write_radar: Write) -> None:
    """The bytes of texts are memory addresses, which differ between files."""
    for name in ("a.nc", "b.nc", "c.nc"):
        path = write_radar(tmp_path / name, RATE, dims=("band", "time", "y", "x"))
        with netCDF4.Dataset(path, "a") as file:
            file.createVariable("band", str, ("band",))[:] = np.array(["lowest"], dtype=object)
        assert len(read_file(path, config()).scans) == 1
    assert len(cf_layout._layouts) == 1
