"""An archive takes no scans that are read with another configuration than its own."""

import json
import shutil
from typing import Any

import netCDF4
import numpy as np
import pytest
from pydantic import BaseModel

from squall.datasets.archive.archive import Archive
from squall.datasets.errors import ConfigError
from squall.datasets.radar.network_config import NOT_FOR_READING, RadarNetworkConfig
from squall.datasets.radar.quality import QualityConfig
from squall.pipeline.ingest.same_configuration import refuse_other_configuration
from tests.pipeline.tiny_radar import FIRST, STEP, config_with, run, write_scans

# a value that differs from that of the tiny radar, for each key that changes what files give
CHANGED: dict[str, dict[str, Any]] = {
    "variable": {"variable": "other"},
    "units": {"units": "mm"},
    "missing_values": {"missing_values": [-9999.0]},
    "dry_values": {"dry_values": [-32.0]},
    "scale": {"scale": 0.1},
    "importer_options": {"importer_options": {"product": "AQC"}},
    "offset": {"offset": 1.0},
    "z_r": {"z_r": {"a": 300.0, "b": 1.4}},
    "accumulation": {"accumulation": "5min"},
    "time_variable": {"time_variable": "t"},
    "start_variable": {"start_variable": "t0"},
    "time_in_name": {"time_in_name": "%Y%m%dT%H%M"},
    "time_from": {"time_from": "name"},
    "time_marks": {"time_marks": "start", "accumulation": "5min"},
    "phase": {"phase": "1min"},
    "snap_tolerance": {"snap_tolerance": "10s"},
    "x": {"x": "easting"},
    "y": {"y": "northing"},
    "coordinate_units": {"coordinate_units": "km"},
    "crs": {"crs": "EPSG:3857"},
    "regrid": {"regrid": "nearest"},
    "grid": {
        "grid": {
            "crs": "EPSG:3857",
            "nx": 2,
            "ny": 2,
            "west": 0,
            "south": 0,
            "east": 2,
            "north": 2,
        }
    },
    "quality.highest_mm_h": {"quality": {"highest_mm_h": 20.0}},
    "quality.highest_share": {"quality": {"highest_share": 0.001}},
    "quality.least_observed_share": {"quality": {"least_observed_share": 0.5}},
    "quality.name_tolerance": {"quality": {"name_tolerance": "1h"}},
    "eras": {"eras": [{"since": "2024-06-01", "units": "mm"}]},
}
ELSEWHERE = {
    "step",
    "quality",
    "quality.clutter_mask",
    "quality.reject_identical",
    "format",
    "importer",
}  # other tests
FREE: dict[str, Any] = {
    "title": "Radar", "attributes": {"license": "CC0-1.0"}, "source": "elsewhere/*.nc",
    "exclude": "*.tmp",
    "source_options": {"anon": True}, "archive": "elsewhere", "begins": "2020-01-01",
    "lookback": "5D", "file_span": "1D",
}  # fmt: skip


def keys_of(model: type[BaseModel], outer: str = "") -> set[str]:
    return {outer + name for name in model.model_fields}


def test_each_key_of_a_network_is_either_free_or_refused() -> None:
    """A new key must be named in `CHANGED`, or in `NOT_FOR_READING` and `FREE`."""
    keys = keys_of(RadarNetworkConfig) | keys_of(QualityConfig, "quality.")
    assert keys == CHANGED.keys() | ELSEWHERE | NOT_FOR_READING
    assert FREE.keys() | {"name"} == NOT_FOR_READING


def test_a_format_that_the_content_tells_may_be_left_out(radar, archive):
    """A file of another content is rejected with it and without it."""
    write_scans(radar, 2)
    run(archive, radar / "*.nc", config=config_with(format="netcdf"))
    write_scans(radar, 1, first=FIRST + 2 * STEP, seed=3)
    with pytest.raises(ConfigError, match='\'format\' was "netcdf", is "odim"'):
        run(archive, radar / "*.nc", config=config_with(format="odim"))
    assert run(archive, radar / "*.nc", config=config_with(format=None)).ingested == 1
    write_scans(radar, 1, first=FIRST + 3 * STEP, seed=4)
    importer = {"format": "pysteps", "importer": "fmi_pgm"}
    with pytest.raises(ConfigError, match="'format' was not set, is \"pysteps\""):
        run(archive, radar / "*.nc", config=config_with(**importer))
    assert run(archive, radar / "*.nc", config=config_with(format="netcdf")).ingested == 1


def test_a_format_counts_where_a_file_could_be_read_as_another(radar, archive):
    write_scans(radar, 1)
    run(archive, radar / "*.nc")
    opened = Archive.open(archive)
    stored = json.loads(opened.attributes["configuration"])
    steps = {"x0": 0.0, "y0": 0.0, "dx": 1.0, "dy": 1.0}
    grid = config_with(grid={"crs": "EPSG:3035", "nx": 16, "ny": 16, **steps})
    keys = {"format": "hdf5", "grid": grid.model_dump(mode="json")["grid"]}
    opened.attributes["configuration"] = json.dumps(stored | keys)
    with pytest.raises(ConfigError, match="'format' was \"hdf5\", is not set"):
        refuse_other_configuration(opened, grid)


@pytest.mark.parametrize("key", CHANGED)
def test_a_changed_key_is_refused_and_named(key, radar, archive):
    write_scans(radar, 2)
    before = run(archive, radar / "*.nc").snapshot
    write_scans(radar, 1, first=FIRST + 2 * STEP, seed=3)
    with pytest.raises(ConfigError, match="was filled with another configuration") as raised:
        run(archive, radar / "*.nc", config=config_with(**CHANGED[key]))
    named = {
        "eras": "'units' was not set, is \"mm\"",
        "z_r": "'z_r.a' was 200.0, is 300.0",
        "grid": "'grid.west' was not set, is 0.0",
        "importer_options": "'importer_options.product' was not set, is \"AQC\"",
    }
    assert named.get(key, f"'{key}' was ") in str(raised.value)
    assert "--reread" in str(raised.value)
    assert Archive.open(archive).snapshot == before


@pytest.mark.parametrize("key", FREE)
def test_a_key_that_changes_no_value_may_change(key, radar, archive):
    write_scans(radar, 2)
    run(archive, radar / "*.nc")
    write_scans(radar, 1, first=FIRST + 2 * STEP, seed=3)
    report = run(archive, radar / "*.nc", config=config_with(**{key: FREE[key]}))
    assert (report.ingested, report.unchanged) == (1, 2)


def test_a_changed_key_is_refused_also_if_no_file_is_new(radar, archive):
    write_scans(radar, 2)
    run(archive, radar / "*.nc")
    marks = config_with(time_marks="start", accumulation="10min")
    for settings in ({}, {"dry_run": True}):
        with pytest.raises(ConfigError, match='\'time_marks\' was "end", is "start"'):
            run(archive, radar / "*.nc", config=marks, **settings)


@pytest.mark.parametrize(
    ("strict", "lenient"),
    [
        ({"snap_tolerance": "10s"}, {"snap_tolerance": "60s"}),
        ({"quality": {"least_observed_share": 0.5}}, {"quality": {"least_observed_share": 0.1}}),
        ({"quality": {"name_tolerance": "1h"}}, {"quality": {"name_tolerance": "2h"}}),
        ({"quality": {"reject_identical": True}}, {"quality": {"reject_identical": False}}),
    ],
)
def test_a_limit_may_become_looser_but_not_stricter(strict, lenient, radar, archive):
    write_scans(radar, 2)
    run(archive, radar / "*.nc", config=config_with(**strict))
    write_scans(radar, 1, first=FIRST + 2 * STEP, seed=3)
    assert run(archive, radar / "*.nc", config=config_with(**lenient)).ingested == 1
    with pytest.raises(ConfigError, match="was filled with another configuration"):
        run(archive, radar / "*.nc", config=config_with(**strict))


def test_an_era_after_the_last_scan_may_be_added(radar, archive):
    write_scans(radar, 2)
    run(archive, radar / "*.nc")
    later = FIRST + 2 * STEP
    eras = [{"since": str(later), "variable": "rate"}]
    write_scans(radar, 1, first=later, seed=3, variable="rate")
    assert run(archive, radar / "*.nc", config=config_with(eras=eras)).ingested == 1
    with pytest.raises(ConfigError, match='\'variable\' was "rate", is "rain"'):
        run(archive, radar / "*.nc")


def write_mask(path, column):
    mask = np.zeros((16, 16), np.uint8)
    mask[:, column] = 1
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("y", 16)
        file.createDimension("x", 16)
        file.createVariable("clutter", "u1", ("y", "x"))[:] = mask


def test_the_content_of_a_clutter_mask_counts_not_its_place(radar, archive, tmp_path):
    write_scans(radar, 1)
    first, moved = tmp_path / "mask.nc", tmp_path / "moved.nc"
    write_mask(first, 3)
    shutil.copy(first, moved)
    run(archive, radar / "*.nc", config=config_with(quality={"clutter_mask": str(first)}))
    with_moved = config_with(quality={"clutter_mask": str(moved)})
    assert run(archive, radar / "*.nc", config=with_moved).unchanged == 1
    write_mask(first, 4)
    with pytest.raises(ConfigError, match=r"'quality.clutter_mask' was .* with the digest"):
        run(archive, radar / "*.nc", config=config_with(quality={"clutter_mask": str(first)}))
    with pytest.raises(ConfigError, match=r"'quality.clutter_mask' was .*, is not set"):
        run(archive, radar / "*.nc")


def test_a_missing_value_that_is_no_number_is_the_same_in_the_next_run(radar, archive):
    write_scans(radar, 1)
    config = config_with(missing_values=[float("nan")])
    run(archive, radar / "*.nc", config=config)
    assert run(archive, radar / "*.nc", config=config).unchanged == 1


@pytest.mark.parametrize("further", [None, {}, {"gone": 1}, {"missing_values": [None]}])
def test_an_archive_without_a_configuration_or_of_an_earlier_release(further, radar, archive):
    write_scans(radar, 1)
    run(archive, radar / "*.nc")
    opened = Archive.open(archive)
    stored = json.loads(opened.attributes.pop("configuration"))
    if further is not None:
        opened.attributes["configuration"] = json.dumps(stored | further)
    if further == {"gone": 1}:
        with pytest.raises(ConfigError, match="gone, which this release"):
            refuse_other_configuration(opened, config_with())
    elif further:
        nan = config_with(missing_values=[float("nan")])
        refuse_other_configuration(opened, nan)
    else:
        refuse_other_configuration(opened, config_with())
