"""Any format is recognised by its content, packed or not; a packed file may not unpack to more."""

import bz2
import gzip
import lzma
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from squall.datasets.errors import ConfigError
from squall.datasets.radar import formats, unpacked
from squall.datasets.radar.formats import Format, recognised_format
from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.cf_netcdf import open_netcdf
from tests.datasets.radar.radar_files import (
    CLASSIC,
    NAME,
    NAMED,
    RATE,
    Write,
    assert_rate,
    config,
    rejection_of,
    scan_of,
)

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, "": gzip.compress,
}  # fmt: skip


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("kind", ["NETCDF4", *CLASSIC])
def test_packed_files_are_read(tmp_path: Path, write_radar: Write, suffix: str, kind: str) -> None:
    plain = Path(write_radar(tmp_path / NAME, RATE, format=kind))
    packed = tmp_path / f"packed_{NAME}{suffix}"
    packed.write_bytes(PACK[suffix](plain.read_bytes()))
    assert_rate(scan_of(str(packed)), RATE)


def test_the_time_in_the_name_of_a_packed_file_counts(tmp_path: Path, write_radar: Write) -> None:
    written = write_radar(tmp_path / "a.nc", RATE)
    plain = tmp_path / NAME
    xr.load_dataset(written, decode_cf=False).isel(time=0).drop_vars("time").to_netcdf(plain)
    packed = tmp_path / f"{NAME}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert_rate(scan_of(str(packed), config(**NAMED)), RATE)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_packed_file_that_is_cut_off_or_damaged_is_rejected(
    tmp_path: Path, write_radar: Write, suffix: str
) -> None:
    rng = np.random.default_rng(0)
    plain = Path(write_radar(tmp_path / NAME, rng.random((64, 64), dtype=np.float32)))
    whole = PACK[suffix](plain.read_bytes())
    for damaged in (whole[:-20], whole[: len(whole) // 2], whole[:20] + bytes(50) + whole[70:]):
        path = tmp_path / f"a.nc{suffix}"
        path.write_bytes(damaged)
        assert "cut off or damaged" in rejection_of(str(path))


def test_a_small_file_that_unpacks_to_a_huge_one_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "LEAST_LIMIT", 2**16)
    path = tmp_path / "a.nc.bz2"
    path.write_bytes(bz2.compress(bytes(2**22)))
    assert "unpacks to more than" in rejection_of(str(path))


def test_a_full_disk_is_no_fault_of_the_file(
    tmp_path: Path, write_radar: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path(write_radar(tmp_path / NAME, RATE))
    packed = plain.with_suffix(".nc.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    blocks = unpacked._blocks

    def full(*arguments: Any) -> Any:
        yield from blocks(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacked, "_blocks", full)
    with pytest.raises(OSError, match="No space left"):
        scan_of(str(packed))


def test_each_format_is_recognised(
    tmp_path: Path, write_radar: Write, write_odim: Any, write_knmi: Any, grib_message: Any
) -> None:
    paths = {
        "netcdf": write_radar(tmp_path / "a.nc", RATE),
        "odim": write_odim(tmp_path / "b.h5", np.ones((12, 16), np.uint16)),
        "knmi": write_knmi(tmp_path / "c.h5", np.ones((12, 16), np.uint16)),
        "grib": str(tmp_path / "d.grib2"),
    }
    Path(paths["grib"]).write_bytes(grib_message(np.ones((4, 5))))
    assert {name: recognised_format(path) for name, path in paths.items()} == {n: n for n in paths}


def test_a_missing_variable_is_asked_for(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / NAME, RATE)
    reason = rejection_of(path, config(variable=""))
    assert reason.startswith("'variable' is missing: netCDF files hold several fields")
    assert "of: rain (mm h-1" in reason
    with pytest.raises(ValidationError, match="'variable' is missing"):
        config(variable="", format="odim")


def test_a_stray_file_without_its_library_does_not_end_a_run(
    tmp_path: Path, grib_message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unavailable, not rejected, so that it is read when the library is there."""
    path = tmp_path / "stray.grib2"
    path.write_bytes(grib_message(np.ones((4, 5))))
    monkeypatch.setitem(sys.modules, "eccodes", None)
    with pytest.raises(OSError, match="pip install 'squall\\[grib\\]'"):
        read_file(str(path), config())
    with pytest.raises(ConfigError, match="pip install 'squall\\[grib\\]'"):
        read_file(str(path), config(format="grib"))


@pytest.fixture
def no_known_plugins() -> Iterator[None]:
    for cached in (formats._plugin_names, formats._plugin):
        cached.cache_clear()
    yield
    for cached in (formats._plugin_names, formats._plugin):
        cached.cache_clear()


def test_a_format_of_another_package(
    no_known_plugins: None, tmp_path: Path, write_radar: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("mine", f"{__name__}:MINE", formats.PLUGINS)
    monkeypatch.setattr(formats, "entry_points", lambda group, **name: (point,))
    path = Path(write_radar(tmp_path / NAME, RATE))
    mine = tmp_path / f"mine_{NAME}"
    mine.write_bytes(b"MINE" + path.read_bytes())
    assert_rate(scan_of(str(mine)), RATE)
    assert_rate(scan_of(str(mine), config(format="mine")), RATE)
    assert "'format: mine'" in rejection_of(str(mine), config(format="netcdf"))
    with pytest.raises(ValidationError, match="'theirs' is not one of netcdf, odim, knmi, hdf5"):
        config(format="theirs")


def _open_mine(path: str, settings: Any) -> Any:
    copy = Path(path).with_suffix(".copy")
    copy.write_bytes(Path(path).read_bytes()[4:])
    return open_netcdf(str(copy), settings)


MINE = Format("My format", _open_mine, lambda head, path: head.startswith(b"MINE"))


def test_recognising_costs_less_than_a_millisecond(tmp_path: Path, write_odim: Any) -> None:
    path = write_odim(tmp_path / "b.h5", np.ones((12, 16), np.uint16))
    start = time.perf_counter()
    for _ in range(50):
        assert recognised_format(path) == "odim"
    assert (time.perf_counter() - start) / 50 < 0.02  # ten times what it takes on a busy machine
