"""Files whose header is known are read as the libraries read them; all others are left to them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squall.datasets.radar import known_headers
from squall.datasets.radar.known_headers import forget_all, keep, open_known
from squall.datasets.radar.radar_file import FileReport, read_file
from tests.datasets.radar.radar_files import config

SHAPE = (50, 70)  # smaller chunks do not lie at the end of a file
CRS = {"grid_mapping_name": "latitude_longitude"}
NAMES = {"time_in_name": "%Y%m%d%H%M"}


@pytest.fixture(autouse=True)
def no_headers() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def write(path: Path, minutes: int, rain: Any, **layout: Any) -> str:
    """A scan ``minutes`` after noon; ``layout`` changes the way in which it is stored."""
    kind = {
        "dtype": "u2", "shuffle": True, "fletcher32": False, "unlimited": False,
        "time": "i8", "bounds": False, "units": "mm h-1", "scale": 0.01, "south_first": False,
        "chunk": SHAPE, "since": "2024-06-01 12:00", "note": "", "last": "rain",
    } | layout  # fmt: skip
    with netCDF4.Dataset(path, "w") as file:
        file.Conventions, file.note = "CF-1.8", kind["note"]
        for name, size in (("time", 1), ("y", SHAPE[0]), ("x", SHAPE[1]), ("nv", 2)):
            file.createDimension(name, None if name == "time" and kind["unlimited"] else size)
        file.createVariable("crs", "i4").setncatts(CRS)
        y = 50 + np.arange(SHAPE[0]) * 0.1
        for name, values in (
            ("y", y if kind["south_first"] else y[::-1]),
            ("x", np.arange(SHAPE[1]) / 10),
        ):
            axis = file.createVariable(name, "f8", (name,))
            axis.units = {"y": "degrees_north", "x": "degrees_east"}[name]
            axis[:] = values
        time = file.createVariable("time", kind["time"], ("time",))
        time.setncatts({"standard_name": "time", "units": f"minutes since {kind['since']}"})
        time[:] = [minutes]
        if kind["bounds"]:
            time.bounds = "time_bounds"
            file.createVariable("time_bounds", "i4", ("time", "nv"))[:] = [[minutes - 5, minutes]]
        rain_variable = file.createVariable(
            "rain", kind["dtype"], ("time", "y", "x"), compression="zlib", shuffle=kind["shuffle"],
            fletcher32=kind["fletcher32"], chunksizes=(1, *kind["chunk"]), fill_value=99,
            endian="big" if kind["dtype"].startswith(">") else "native",
        )  # fmt: skip
        rain_variable.set_auto_maskandscale(False)
        rain_variable.setncatts({"units": kind["units"], "grid_mapping": "crs"})
        if kind["scale"] is not None:
            rain_variable.scale_factor = kind["scale"]
        rain_variable[0] = rain
        if kind["last"] != "rain":
            later = file.createVariable(kind["last"], "f8", ("y", "x"), compression="zlib")
            later[:] = np.random.default_rng(0).random(SHAPE)
    return str(path)


def described(report: FileReport) -> Any:
    scans = [
        (scan.time, scan.codes.tobytes(), scan.measures.checksum, scan.measures.blocks.tobytes())
        for scan in report.scans
        if scan.codes is not None
    ]
    return scans, report.rejected, report.digest, report.scan_count, report.masked_px, report.grid


def by_libraries(path: str, **keys: Any) -> Any:
    forget_all()
    return described(read_file(path, config(**keys)))


def is_known(path: str, **keys: Any) -> bool:
    return open_known(path, config(**keys)) is not None


def noise(seed: int) -> Any:
    """Numbers that need more than 2 kB, some of them the fill value."""
    return np.random.default_rng(seed).integers(0, 120, SHAPE)


LAYOUTS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["u1", "i2", "u2", ">u2", "i4", "f4", ">f4", "f8"]),
        "shuffle": st.booleans(),
        "fletcher32": st.booleans(),
        "unlimited": st.booleans(),
        "time": st.sampled_from(["i4", "i8", "f8", "f4"]),
        "bounds": st.booleans(),
        "south_first": st.booleans(),
        "scale": st.sampled_from([None, 0.5, 1.0]),
    }
)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(layout=LAYOUTS, seed=st.integers(0, 1000), minutes=st.integers(0, 30))
def test_any_layout_is_read_as_by_the_libraries(
    tmp_path: Path, layout: Any, seed: int, minutes: int
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    paths = [
        write(folder / f"{i}.nc", 5 * i * minutes, noise(seed + i), **layout) for i in range(2)
    ]
    expected = by_libraries(paths[1])
    forget_all()
    read_file(paths[0], config())
    assert is_known(paths[1])
    assert described(read_file(paths[1], config())) == expected


def test_a_change_of_any_byte_is_seen(tmp_path: Path) -> None:
    """Only the time and the chunk may differ, and then the result is that of the libraries."""
    path = write(tmp_path / "a.nc", 5, noise(0))
    content = Path(path).read_bytes()
    read_file(path, config())
    (header,) = known_headers._known
    chunk_at, changed = len(header.content), tmp_path / "b.nc"

    def flipped(place: int) -> bytes:
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    same = [i for i in range(chunk_at) if header.is_of(flipped(i)[:chunk_at], len(content))]
    assert len(same) == 8
    assert same[-1] - same[0] == 7
    places = [*same, *range(chunk_at, len(content), 499), *range(0, chunk_at, 997)]
    for place in places:
        changed.write_bytes(flipped(place))
        assert place in same or place >= chunk_at or not is_known(str(changed))
        result = described(read_file(str(changed), config()))
        assert result == by_libraries(str(changed)), place
        keep(header)


@pytest.mark.parametrize(
    "change",
    [
        {"units": "mm/day"}, {"scale": 0.02}, {"since": "2024-06-01 12:05"}, {"south_first": True},
        {"note": "x"}, {"bounds": True}, {"fletcher32": True}, {"dtype": "i2"}, {"time": "i4"},
        {"dtype": ">u2"}, {"last": "other"},
    ],
    ids=str,
)  # fmt: skip
def test_other_metadata_are_never_taken_from_a_known_file(tmp_path: Path, change: Any) -> None:
    rain = noise(0)
    path = write(tmp_path / "a.nc", 5, rain)
    other = write(tmp_path / "b.nc", 5, rain, **change)
    expected = by_libraries(other)
    forget_all()
    read_file(path, config())
    assert not is_known(other)
    assert described(read_file(other, config())) == expected


def test_another_configuration_does_not_use_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", 5, noise(0))
    read_file(path, config())
    assert is_known(path)
    assert not is_known(path, units="mm/day")
    assert not is_known(path, variable="other")


@pytest.mark.parametrize(
    "layout",
    [{"chunk": (25, 70)}, {"last": "other"}, {"note": "x" * 2**20}],
    ids=["chunks", "elsewhere", "long"],
)
def test_files_that_the_libraries_must_read(tmp_path: Path, layout: Any) -> None:
    path = write(tmp_path / "a.nc", 5, noise(0), **layout)
    report = read_file(path, config())
    assert len(report.scans) == 1 or "attribute" in report.rejected[0].reason
    assert not is_known(path)


def test_files_that_are_cut_off_or_longer_are_left_to_the_libraries(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", 5, noise(0))
    content = Path(path).read_bytes()
    read_file(path, config())
    for name, changed in (
        ("cut", content[:-1]),
        ("longer", content + b"\0"),
        ("short", b"\x89HDF"),
    ):
        other = tmp_path / f"{name}.nc"
        other.write_bytes(changed)
        assert not is_known(str(other))
        expected = by_libraries(str(other))
        read_file(path, config())
        assert described(read_file(str(other), config())) == expected


def test_a_broken_time_is_left_to_the_reader(tmp_path: Path) -> None:
    """Its message is the same, and ``time_from: name`` takes the time from the name."""
    rain = noise(0)
    path = write(tmp_path / "202406011205.nc", 5, rain, time="f8")
    broken = write(tmp_path / "202406011210.nc", np.nan, rain, time="f8")  # type: ignore[arg-type]
    for keys in ({}, {**NAMES, "time_from": "name"}):
        expected = by_libraries(broken, **keys)
        forget_all()
        read_file(path, config(**keys))
        assert is_known(path, **keys)
        assert not is_known(broken, **keys)
        assert described(read_file(broken, config(**keys))) == expected
