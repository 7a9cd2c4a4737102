"""Files that are made to hurt: absurd sizes, broken references, any damage to any byte."""

import json
import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings

from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.classic_netcdf import expected_size
from tests.datasets.radar.radar_files import NAME, NAMED, NOON, RATE, Write, config, rejection_of

ROOT = Path(__file__).parents[4]
MAX_MB = 200

# reads files in a child process, and prints for each the scans, reasons and memory
READ = """
    import faulthandler, json, resource, sys
    from squall.datasets.radar.network_config import RadarNetworkConfig
    from squall.datasets.radar.radar_file import read_file

    faulthandler.enable()
    config = RadarNetworkConfig(name="radar", step="5min", variable="rain", crs="EPSG:3067",
                           time_in_name="%Y%m%d_%H%M", accumulation="5min")
    read_file(sys.argv[1], config)  # so that the memory of the libraries is not counted
    for path in sys.argv[2:]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = read_file(path, config)
        used_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([len(report.scans), [r.reason for r in report.rejected], used_kb / 1024]),
              flush=True)
"""


def read_in_child(*paths: str) -> list[tuple[int, list[str], float]]:
    """Scans, reasons and megabytes of each file but the first."""
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READ), *paths],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return [tuple(json.loads(line)) for line in child.stdout.splitlines()]


def write_absurd(
    path: Path, sizes: dict[str, int | None], variables: dict[str, tuple[tuple[str, ...], Any]]
) -> None:
    """Write a file with unwritten chunks, except for coordinates of 2 × 3 pixels if possible."""
    with netCDF4.Dataset(path, "w") as file:
        for dim, size in sizes.items():
            file.createDimension(dim, size)
        for name, (dims, chunks) in variables.items():
            dtype = "i2" if name == "rain" else "f8"
            variable = file.createVariable(name, dtype, dims, chunksizes=chunks, zlib=True)
            variable.units = {"rain": "mm h-1", "time": "seconds since 1970-01-01"}.get(name, "m")
            if dims in (("x",), ("y",)):
                variable[: min(10**6, len(variable))] = np.arange(min(10**6, len(variable))) * 1e3
            if name == "time" and (not dims or file.dimensions["time"].isunlimited()):
                variable[:] = [NOON.timestamp()]
        if "time" in file.variables:
            file["time"].standard_name = "time"


def own_dimension(name: str, *chunks: int) -> dict[str, tuple[tuple[str, ...], Any]]:
    return {name: ((name,), chunks or None)}


SMALL = own_dimension("y") | own_dimension("x")
MAP = {"y": 2, "x": 3}
HOSTILE: dict[str, tuple[dict[str, int | None], dict[str, Any], str]] = {
    "a million by a million": (
        {"y": 10**6, "x": 10**6},
        SMALL | {"rain": (("y", "x"), (1000, 1000))},
        "1000000 × 1000000 pixels, more than any radar composite",
    ),
    "a side of a million": (
        {"y": 2, "x": 10**6},
        SMALL | {"rain": (("y", "x"), (2, 1000))},
        "2 × 1000000 pixels, more than",
    ),
    "a coordinate of a thousand million": (
        {"y": 10**9, "x": 3},
        own_dimension("x") | {"y": (("y",), (1000,)), "rain": (("y", "x"), (1000, 3))},
        "1000000000 × 3 pixels, more than",
    ),
    "a thousand million times": (
        {"time": 10**9, **MAP},
        SMALL | own_dimension("time", 1000) | {"rain": (("time", "y", "x"), (1, 2, 3))},
        "'time' has 1000000000 values, too many",
    ),
    "more scans than numbers of 64 bits": (
        {"a": 2**32, "b": 2**32, "c": 2**31, **MAP},
        SMALL | {"rain": (("a", "b", "c", "y", "x"), (1, 1, 1, 2, 3))},
        "has no time variable",
    ),
    "scans without times": (
        {"level": 10**9, **MAP},
        SMALL | {"time": ((), None), "rain": (("level", "y", "x"), (1, 2, 3))},
        "1000000000 scans",
    ),
    "one chunk of all times": (
        {"time": None, **MAP},
        SMALL | own_dimension("time", 5 * 10**7) | {"rain": (("time", "y", "x"), (1, 2, 3))},
        r"'time' is stored in chunks of \[50000000\], too large",
    ),
    "one chunk of all scans": (
        {"time": None, **MAP},
        SMALL | own_dimension("time") | {"rain": (("time", "y", "x"), (10**8, 2, 3))},
        "'rain' is stored in chunks of .*, too large",
    ),
    "an unused coordinate of a thousand million": (
        {"station": 10**9, "time": None, **MAP},
        SMALL
        | own_dimension("time")
        | own_dimension("station", 1000)
        | {"rain": (("time", "y", "x"), (1, 2, 3))},
        "'station' has 1000000000 values, too many",
    ),
}


def test_absurd_dimensions_are_rejected_before_memory_is_allocated(
    tmp_path: Path, write_radar: Write
) -> None:
    import re

    paths = [write_radar(tmp_path / "good.nc", RATE)]
    for what, (sizes, variables, _) in HOSTILE.items():
        write_absurd(tmp_path / f"{what}.nc", sizes, variables)
        paths.append(str(tmp_path / f"{what}.nc"))
    for (what, (*_, message)), (scans, reasons, used_mb) in zip(
        HOSTILE.items(), read_in_child(*paths), strict=True
    ):
        assert scans == 0, what
        assert re.search(message, reasons[0]), (what, reasons)
        assert used_mb < MAX_MB, (what, used_mb)


def test_bounds_of_a_hundred_million_values(tmp_path: Path, write_radar: Write) -> None:
    good = write_radar(tmp_path / "good.nc", RATE)
    paths = []
    for name, size, chunk in (("values", 10**8, 1000), ("chunk", None, 5 * 10**7)):
        path = write_radar(tmp_path / f"{name}.nc", RATE, units="mm")
        with netCDF4.Dataset(path, "a") as file:
            file.createDimension("bound", size)
            shape = {"chunksizes": (1, chunk), "zlib": True}
            bounds = file.createVariable("time_bounds", "f8", ("time", "bound"), **shape)
            file["time"].bounds = "time_bounds"
            for place in (0, -1) if size else (0, 1):  # where xarray looks
                bounds[0, place] = NOON.timestamp() - 300 * (place == 0)
        paths.append(path)
    for scans, reasons, used_mb in read_in_child(good, *paths):
        assert scans == 0
        assert "too many" in reasons[0] or "too large" in reasons[0]
        assert used_mb < MAX_MB


# --- classic headers written by hand -----------------------------------------------------------


def classic(
    sizes: dict[str, int], variables: dict[str, tuple[list[int], int]], records: int = 0
) -> bytes:
    """A CDF-2 header: dimensions, no attributes, variables of (dimensions, type)."""

    def named(name: str) -> bytes:
        text = name.encode()
        return struct.pack(">I", len(text)) + text + bytes(-len(text) % 4)

    header = b"CDF\x02" + struct.pack(">III", records, 10, len(sizes))
    for name, size in sizes.items():
        header += named(name) + struct.pack(">I", size)
    header += struct.pack(">IIII", 0, 0, 11, len(variables))
    for name, (dims, kind) in variables.items():
        header += named(name) + struct.pack(f">{1 + len(dims)}I", len(dims), *dims)
        header += struct.pack(">IIIIQ", 0, 0, kind, 2**32 - 1, 400)
    return header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (classic({"y": 10**6, "x": 10**6}, {"rain": ([0, 1], 5)}), "it has .* of at least 4000"),
        (classic({"t": 0, "y": 2, "x": 3}, {"rain": ([0, 1, 2], 5)}, 2**31), "it has .* of at l"),
        (classic({"y": 2, "x": 3}, {"rain": ([0, 7], 5)}), "broken in its netCDF header"),
        (classic({"y": 2, "x": 3}, {"rain": ([0, 1], 99)}), "broken in its netCDF header"),
        # a name, a list and an attribute that are longer than the memory
        (b"CDF\x02" + struct.pack(">4I", 0, 10, 1, 2**31 - 8), "broken in its netCDF header"),
        (b"CDF\x05" + struct.pack(">QIQQ", 0, 10, 1, 2**45), "broken in its netCDF header"),
        (b"CDF\x05" + struct.pack(">QIQQ", 0, 10, 1, 2**64 - 8), "broken in its netCDF header"),
        (b"CDF\x05" + struct.pack(">QIQ", 0, 10, 2**64 - 1), "broken in its netCDF header"),
    ],
)
def test_classic_headers_with_absurd_sizes_are_rejected(
    tmp_path: Path, content: bytes, message: str
) -> None:
    import re
    import tracemalloc

    path = tmp_path / NAME
    path.write_bytes(content + bytes(500))
    tracemalloc.start()
    report = read_file(str(path), config(**NAMED))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.scans == []
    assert re.search(message, report.rejected[0].reason), report.rejected
    assert peak < 50e6


def test_the_hand_written_header_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(classic({"y": 2, "x": 3}, {"rain": ([0, 1], 5)}) + bytes(400))
    assert expected_size(str(path)) == 424
    with netCDF4.Dataset(path) as file:
        assert file["rain"].shape == (2, 3)


# --- names and references ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../etc/passwd", "/proj", "", ".", "proj: ../x", "x" * 5000])
@pytest.mark.parametrize("attribute", ["grid_mapping", "bounds", "coordinates", "units"])
def test_attributes_that_name_missing_variables(
    tmp_path: Path, write_radar: Write, attribute: str, name: str
) -> None:
    path = write_radar(tmp_path / NAME, RATE)
    with netCDF4.Dataset(path, "a") as file:
        file["time" if attribute == "bounds" else "rain"].setncattr(attribute, name)
    report = read_file(path, config(**NAMED))
    assert len(report.scans) + len(report.rejected) == 1
    if attribute in ("bounds", "coordinates"):
        assert report.rejected == []


@pytest.mark.parametrize(
    "variable", ["../rain", "other/rain", "group/..", "group", "group/", ".", "ra\u0000in"]
)
def test_a_variable_name_is_no_path_out_of_the_file(
    tmp_path: Path, write_radar: Write, variable: str
) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)
    with netCDF4.Dataset(path, "a") as file:
        file.createGroup("group").createVariable("rain", "f4", ("y", "x"))
    assert "has no variable" in rejection_of(path, config(variable=variable))


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_coordinate_along_another_dimension(
    tmp_path: Path, write_radar: Write, axis: str
) -> None:
    """Its name fits but its length does not: grid and scan would have different shapes."""
    path = write_radar(tmp_path / "a.nc", RATE)
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable(axis, "plain")
        file["plain"].delncattr("standard_name")
        file.createDimension("other", 7)
        file.createVariable(axis, "f8", ("other",))[:] = np.arange(7) * 1000.0
        file[axis].units = "m"
    reason = rejection_of(path)
    assert f"has no coordinate '{axis}' among its dimensions" in reason
    assert "else set 'grid' in the network configuration" in reason
    assert "set 'x' and 'y'" not in reason  # there are no others


def test_a_coordinate_is_preferred_among_two_time_variables(
    tmp_path: Path, write_radar: Write
) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("rain_2", "f4", ("time", "y", "x"))[:] = 99.0
        file["rain_2"].setncatts({"units": "mm h-1", "grid_mapping": "proj"})
        later = file.createVariable("analysis", "f8", ())
        later.setncatts({"standard_name": "time", "units": "seconds since 1970-01-01"})
        later[...] = 0.0
    (scan,) = read_file(path, config()).scans
    assert scan.time == NOON  # a coordinate is preferred to a variable with the same standard name
    assert scan.codes is not None
    assert scan.codes.max() < 254


# --- any damage --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory, write_radar: Write) -> dict[str, bytes]:
    """Intact files of each format, with all attributes that the reader uses."""
    folder = tmp_path_factory.mktemp("whole")
    numbers = (np.random.default_rng(0).random((2, 6, 5)) * 100).astype(np.int16)
    times = ("2024-06-01T11:55", "2024-06-01T12:00")
    contents = {}
    for format in ("NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"):
        path = write_radar(
            folder / f"{format}.nc",
            numbers,
            times=times,
            units="mm",
            interval="5min",
            bounds=True,
            format=format,
            unlimited=True,
            fill=np.int16(-1),
            attributes={"scale_factor": 0.01, "valid_range": np.array([0, 99], np.int16)},
        )
        contents[format] = Path(path).read_bytes()
    return contents


@pytest.mark.parametrize("format", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_any_damage_to_a_classic_file_gives_scans_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], damages: Any, format: str
) -> None:
    path = tmp_path_factory.mktemp("damaged") / NAME

    @given(damages)
    @settings(max_examples=150)
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        path.write_bytes(damage(contents[format]))
        report = read_file(str(path), config(**NAMED))
        assert report.scans or report.rejected or report.grid is not None
        for scan in report.scans:
            assert report.grid is not None
            assert scan.codes is not None
            assert scan.codes.shape == report.grid.shape

    damaged()


@pytest.mark.parametrize("seed", range(3))
def test_any_damage_to_a_netcdf_4_file_gives_scans_or_a_reason(
    tmp_path: Path, contents: dict[str, bytes], write_radar: Write, seed: int
) -> None:
    """Run in a child process: the HDF5 library is written in C, and may crash."""
    rng = np.random.default_rng(seed)
    paths = [write_radar(tmp_path / "good.nc", RATE)]
    for i in range(150):
        data = bytearray(contents["NETCDF4"])
        for place in rng.integers(0, len(data), rng.integers(0, 6)).tolist():
            data[place] = int(rng.integers(256))
        kind, place = rng.integers(4), int(rng.integers(len(data)))
        if kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + int(rng.integers(1, 50))]
        elif kind == 3:
            data[place:place] = rng.bytes(int(rng.integers(1, 50)))
        (tmp_path / f"{i}_20240601_1200.nc").write_bytes(data)
        paths.append(str(tmp_path / f"{i}_20240601_1200.nc"))
    results = read_in_child(*paths)
    assert len(results) == 150
    assert any(reasons for _, reasons, _ in results)
    assert any(scans for scans, _, _ in results)
