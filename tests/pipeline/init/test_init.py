"""`squall init`: the configuration that it writes reads the same scans as one written by hand."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import yaml

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import FileReport, read_file
from squall.datasets.sources.find import find_files
from squall.pipeline.cli.main import main
from squall.pipeline.config import load_config
from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.run import InitResult, init

ROOT = Path(__file__).parents[3]
Write = Callable[..., str]
NAMES = {
    "bom_brisbane": "66_%Y%m%d_%H%M%S.prcp-c10.nc",
    "bom_melbourne": "2_%Y%m%d_%H%M%S.prcp-cscn.nc",
    "knmi": "knmi_%Y%m%d%H%M.nc",
    "fmi": "fmi_%Y%m%d%H%M.nc",
}
STEPS = {"bom_brisbane": "10min", "bom_melbourne": "6min"}
MISSING_PX, WET_PX = (slice(0, 5), slice(None)), (slice(10, 30), slice(10, 40))


def numbers_of(fill: Any, index: int) -> np.ndarray:
    """(48, 64) packed numbers with missing, dry and wet pixels."""
    numbers = np.zeros((48, 64), dtype=np.dtype(type(fill)))
    numbers[WET_PX] = 40 + index
    numbers[MISSING_PX] = fill
    return numbers


def configuration(result: InitResult, folder: Path) -> RadarNetworkConfig:
    path = folder / "written.yaml"
    path.write_text(result.text, encoding="utf-8")
    return load_config(path, RadarNetworkConfig)


def assert_same_scans(path: str, ours: RadarNetworkConfig, theirs: RadarNetworkConfig) -> None:
    ours_read, theirs_read = read_file(path, ours), read_file(path, theirs)
    assert ours_read.rejected == theirs_read.rejected == []
    assert [s.time for s in ours_read.scans] == [s.time for s in theirs_read.scans]
    for scan, expected in zip(ours_read.scans, theirs_read.scans, strict=True):
        np.testing.assert_array_equal(scan.codes, expected.codes)
    assert ours_read.grid is not None
    assert theirs_read.grid is not None
    assert ours_read.grid.difference(theirs_read.grid) is None


def scans_in(path: str | Path, config: RadarNetworkConfig) -> FileReport:
    report = read_file(str(path), config)
    assert report.rejected == []
    return report


@pytest.mark.parametrize("network", NAMES)
@pytest.mark.parametrize("count", [1, 3])
def test_the_scans_are_those_of_the_configuration_written_by_hand(
    tmp_path: Path, write_radar: Write, networks: Any, network: str, count: int
) -> None:
    step = pd.Timedelta(STEPS.get(network, "5min"))
    options = networks[network]
    paths = []
    for index in range(3):
        time = pd.Timestamp("2024-06-01T12:00") + index * step
        path = tmp_path / f"{time:%Y}" / f"{time:%m}" / f"{time:{NAMES[network]}}"
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = numbers_of(options["fill"], index)
        paths.append(write_radar(path, numbers, times=[str(time)], **options))
    result = init(InitConfig(files=tuple(paths[:count])))
    assert result.is_complete, result
    written = configuration(result, tmp_path)
    by_hand = load_config(ROOT / f"configs/archives/{network}.yaml", RadarNetworkConfig)
    assert written.step == by_hand.step
    for path in paths:
        assert_same_scans(path, written, by_hand)
    assert {file.address for file in find_files(written.source)} == set(paths)


def test_packed_files_with_years_of_two_digits(tmp_path: Path, write_radar: Write) -> None:
    for minute in ("00", "05", "10"):
        time = f"2024-06-01T12:{minute}"
        plain = write_radar(tmp_path / "plain.nc", np.ones((16, 16), np.float32), times=[time])
        packed = tmp_path / f"raa01-ry_10000-24060112{minute}-dwd---bin.gz"
        packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    (tmp_path / "plain.nc").unlink()
    written = configuration(init(InitConfig(files=(str(packed),))), tmp_path)
    assert written.time_in_name == "raa01-ry_10000-%y%m%d%H%M"
    assert written.step == pd.Timedelta("5min")
    assert scans_in(packed, written).scans[0].time == pd.Timestamp("2024-06-01T12:10")


def test_the_time_of_the_start_is_noticed(tmp_path: Path, write_radar: Write) -> None:
    path = tmp_path / "sum_202406011205.nc"
    write_radar(path, np.ones((16, 16), np.float32), units="mm", times=["2024-06-01T12:00"])
    result = init(InitConfig(files=(str(path),)))
    assert "time_marks: start" in result.text
    assert "accumulation: 5min  # a guess" in result.text
    text = result.text.replace("step: ???", "step: 5min")
    (tmp_path / "a.yaml").write_text(text)
    scan = scans_in(path, load_config(tmp_path / "a.yaml", RadarNetworkConfig)).scans[0]
    assert scan.time == pd.Timestamp("2024-06-01T12:05")
    assert scan.codes is not None
    assert RAIN_CODE.decode(scan.codes)[0, 0] == pytest.approx(12, rel=0.02)


@pytest.mark.parametrize(
    ("options", "key", "sentence"),
    [
        (
            {"units": None},
            "units",
            r"the file has none: write mm h-1, dBZ, mm \(with 'accumulation' too, perhaps 5min, "
            r"the step\) or another unit of rain. Its numbers are whole, up to 1: set 'scale' if",
        ),
        ({"units": "furlong"}, "units", "the file's units 'furlong' are no rain unit"),
        ({"grid_mapping": None}, "crs", "EPSG code, PROJ string or WKT"),
        ({"units": "mm"}, "accumulation", "over which time the rain is summed, perhaps 5min"),
    ],
)
def test_what_is_missing_is_said_and_refused_when_it_is_loaded(
    tmp_path: Path, write_radar: Write, options: dict[str, Any], key: str, sentence: str
) -> None:
    times = ["2024-06-01T12:00", "2024-06-01T12:05"]
    path = write_radar(tmp_path / "a.nc", np.ones((2, 16, 16), np.float32), times=times, **options)
    result = init(InitConfig(files=(path,)))
    assert result.missing == (key,)
    assert not result.is_complete
    assert f"not known   {key}" in result.summary
    with pytest.raises(ConfigError, match=rf"written.yaml: '{key}' is still \?\?\?: {sentence}"):
        configuration(result, tmp_path)


def write_plain_hdf5(path: Path) -> str:
    with h5py.File(path, "w") as root:
        root["rain_rate"] = np.ones((16, 16), np.float32)
    return str(path)


def test_no_map_is_drawn_where_nobody_knows_where_the_pixels_lie(
    tmp_path: Path, write_radar: Write
) -> None:
    rain = np.ones((16, 16), np.float32)
    path = write_radar(tmp_path / "a.nc", rain, grid_mapping=None)
    result = init(InitConfig(files=(path,), plot=tmp_path / "scan.png"))
    assert "map         not drawn: where the pixels lie is not known; fill in crs" in result.summary
    assert not (tmp_path / "scan.png").exists()


def test_an_attribute_with_a_projection_is_a_guess(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", np.ones((16, 16), np.float32), grid_mapping=None)
    with netCDF4.Dataset(path, "a") as file:
        file.gdal_projection = "+proj=stere +lat_0=90 +lat_ts=60"
    result = init(InitConfig(files=(path,)))
    assert result.missing == ("step",)
    comment = "a guess: from attribute 'gdal_projection' of the file"
    assert f"crs: +proj=stere +lat_0=90 +lat_ts=60  # {comment}" in result.text
    assert "polar stereographic" in result.summary


def test_a_projection_beside_a_missing_grid(tmp_path: Path) -> None:
    path = write_plain_hdf5(tmp_path / "radar_202406011200.h5")
    with h5py.File(path, "a") as root:
        root.attrs["proj4"] = "+proj=tmerc +lat_0=42"
    assert (
        "grid: ???  # {crs: '+proj=tmerc +lat_0=42', west" in init(InitConfig(files=(path,))).text
    )


def test_a_missing_grid_has_the_sentence_of_the_reader(tmp_path: Path) -> None:
    path = write_plain_hdf5(tmp_path / "radar_202406011200.h5")
    text = init(InitConfig(files=(path,))).text
    assert "grid: ???  # {crs, west, south, east, north, nx: 16, ny: 16}, from the producer" in text
    assert "not read: is an HDF5 file that does not tell its grid" in text


def test_files_of_two_formats_are_told_apart(tmp_path: Path, write_radar: Write) -> None:
    write_radar(tmp_path / "radar_202406011200.nc", np.ones((16, 16), np.float32))
    write_plain_hdf5(tmp_path / "radar_202406011205.h5")
    result = init(InitConfig(files=(str(tmp_path / "*"),)))
    assert len(result.problems) == 1
    assert re.search("is (netCDF|plain HDF5), and .* is .*: one configuration", result.problems[0])


def test_one_file_alone_does_not_tell_the_step(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "radar_202406011200.nc", np.ones((16, 16), np.float32))
    result = init(InitConfig(files=(path,)))
    assert result.missing == ("step",)
    assert "2024-06-01 12:00:00 UTC" in result.summary
    with pytest.raises(ConfigError, match="'step' is still"):
        configuration(result, tmp_path)


def test_the_interval_of_an_accumulation_is_a_guess_for_the_step(
    tmp_path: Path, write_radar: Write
) -> None:
    path = write_radar(
        tmp_path / "a.nc", np.ones((16, 16), np.float32), units="mm", interval="10min",
        times=["2024-06-01T12:02"],
    )  # fmt: skip
    written = configuration(init(InitConfig(files=(path,))), tmp_path)
    assert (written.step, written.phase) == (pd.Timedelta("10min"), pd.Timedelta("2min"))


def test_sums_over_another_interval_than_the_step_are_named(
    tmp_path: Path, write_radar: Write
) -> None:
    for minute in ("00", "05", "10", "15"):
        name, time = f"sum_2024060112{minute}.nc", f"2024-06-01T12:{minute}"
        rain = np.ones((16, 16), np.float32)
        write_radar(tmp_path / name, rain, units="mm", interval="1h", times=[time])
    result = init(InitConfig(files=(f"{tmp_path}/*.nc",)))
    assert "accumulation: 1h  # in the file, not the step: each scan is a mean over" in result.text
    written = configuration(result, tmp_path)
    assert (written.step, written.accumulation) == (pd.Timedelta("5min"), pd.Timedelta("1h"))
    assert result.is_complete
    last = tmp_path / "sum_202406011215.nc"
    write_radar(last, rain, units="mm", interval="5min", times=["2024-06-01T12:15"])
    result = init(InitConfig(files=(f"{tmp_path}/*.nc",)))
    (problem,) = result.problems
    assert re.search("holds sums over .* min, and sum_.* over .* min", problem)


def test_numbers_below_zero_are_missing_where_the_file_declares_none(
    tmp_path: Path, write_radar: Write
) -> None:
    numbers = np.ones((2, 16, 16), np.float32)
    numbers[:, :4] = -9999
    times = ["2024-06-01T12:00", "2024-06-01T12:05"]
    path = write_radar(tmp_path / "a.nc", numbers, times=times)
    result = init(InitConfig(files=(path,)))
    written = configuration(result, tmp_path)
    assert written.missing_values == (-9999.0,)
    assert "25.0% not observed" in result.summary
    assert scans_in(path, written).scans[0].codes[:4].min() == 255


def test_metres_are_not_taken_for_degrees(tmp_path: Path, write_radar: Write) -> None:
    axes = {"x": 1000.0 * np.arange(16), "y": -1000.0 * np.arange(16)}
    path = write_radar(
        tmp_path / "a.nc", np.ones((16, 16), np.float32), grid_mapping=None,
        coordinate_units=None, **axes,
    )  # fmt: skip
    result = init(InitConfig(files=(path,)))
    assert {"crs", "grid"} & set(result.missing)
    assert "EPSG:4326" not in result.text


def test_without_a_unit_numbers_far_below_zero_are_missing(
    tmp_path: Path, write_radar: Write
) -> None:
    numbers = np.full((16, 16), -20, np.float32)
    numbers[:4] = -9999
    result = init(InitConfig(files=(write_radar(tmp_path / "a.nc", numbers, units=None),)))
    assert "missing_values: [-9999.0]" in result.text
    assert set(result.missing) == {"units", "step"}
    assert not result.problems


def test_a_file_without_missing_pixels_is_warned_of(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", np.zeros((16, 16), np.float32))
    text = init(InitConfig(files=(path,))).text
    assert "they would read as dry" in text.replace("\n#  ", "")


def test_files_with_many_scans(tmp_path: Path, write_radar: Write) -> None:
    for day in ("2024-06-01", "2024-06-02"):
        times = [f"{day}T{hour:02d}:00" for hour in range(24)]
        write_radar(tmp_path / f"day_{day}.nc", np.ones((24, 16, 16), np.float32), times=times)
    result = init(InitConfig(files=(str(tmp_path / "day_*.nc"),)))
    written = configuration(result, tmp_path)
    assert written.step == pd.Timedelta("1h")
    assert written.time_in_name is None  # a name that tells the day alone would reject late scans
    assert written.source == (str(tmp_path / "day_*.nc"),)
    assert len(scans_in(tmp_path / "day_2024-06-02.nc", written).scans) == 24


def test_without_rain_the_fields_are_named(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", np.ones((16, 16), np.float32), variable="beam_height")
    with pytest.raises(DataError, match=r"no field of it looks like rain.*beam_height \(mm h-1"):
        init(InitConfig(files=(path,)))
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(DataError, match=r"text\.nc: cannot be read: its format is not recognised"):
        init(InitConfig(files=(str(tmp_path / "text.nc"),)))
    (tmp_path / "empty.nc").touch()
    with pytest.raises(DataError, match=r"empty\.nc: the file is empty \(0 bytes\): fetch it"):
        init(InitConfig(files=(str(tmp_path / "empty.nc"),)))


def test_files_of_a_folder_and_of_a_zip_file(tmp_path: Path, write_radar: Write) -> None:
    import zipfile

    folder = tmp_path / "radar"
    folder.mkdir()
    for minute in ("00", "05"):
        write_radar(
            folder / f"radar_2024060112{minute}.nc", np.ones((16, 16), np.float32),
            times=[f"2024-06-01T12:{minute}"],
        )  # fmt: skip
    with zipfile.ZipFile(tmp_path / "day.zip", "w") as packed:
        for path in folder.iterdir():
            packed.write(path, path.name)
    for given in (str(folder), str(tmp_path / "day.zip")):
        written = configuration(init(InitConfig(files=(given,))), tmp_path)
        assert written.step == pd.Timedelta("5min")
        assert len(find_files(written.source)) == 2


def test_a_field_of_several_in_a_geotiff(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from tests.datasets.radar.readers.test_geotiff import write

    bands = np.ones((2, 16, 16), np.float32)
    path = write(
        tmp_path / "a_202406011200.tif", bands, descriptions=("beam height", "rain rate"),
        units="mm h-1", nodata=-9999,
    )  # fmt: skip
    result = init(InitConfig(files=(path,)))
    assert "variable: rain rate  # mm h-1" in result.text
    assert result.missing == ("step",)


def test_the_command(
    tmp_path: Path, write_radar: Write, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for minute in ("00", "05"):
        write_radar(
            Path(f"radar_2024060112{minute}.nc"), np.full((48, 64), 1 + int(minute), np.float32),
            times=[f"2024-06-01T12:{minute}"],
        )  # fmt: skip
    assert main(["init", "radar_202406011200.nc"]) == 0
    printed = capsys.readouterr()
    assert yaml.safe_load(printed.out)["source"] == "radar_*.nc"
    assert "south-west" in printed.err
    out = ["--out", "my/network.yaml", "--plot", "scan.png"]
    assert main(["init", "radar_202406011200.nc", *out]) == 0
    assert "south-west" in capsys.readouterr().out
    assert Path("scan.png").read_bytes().startswith(b"\x89PNG")
    assert load_config(Path("my/network.yaml"), RadarNetworkConfig).name == "network"
    assert main(["init", "radar_202406011200.nc", *out]) == 2
    assert "my/network.yaml: exists; add --force to replace it" in capsys.readouterr().err
    assert main(["init", "radar_202406011200.nc", *out, "--force"]) == 0
    assert main(["ingest", "my/network.yaml", "--archive", "a.icechunk"]) == 0
    assert main(["init", "nowhere.nc"]) == 1
