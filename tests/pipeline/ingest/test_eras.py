"""Eras: periods in which a network's files are different."""

import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK
from squall.datasets.errors import ConfigError
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    codes_of,
    config_with,
    rain,
    run,
    write_file,
    write_scans,
)

SECOND_ERA = FIRST + pd.Timedelta("1D")


def test_an_era_may_have_another_variable_unit_and_step(radar, archive):
    write_scans(radar, 6)
    era_step = pd.Timedelta("10min")
    for i in range(3):
        time = SECOND_ERA + i * era_step
        amount = np.full((SIZE, SIZE), 100 + 50 * i, np.uint16)
        path = radar / f"acc_{time:%Y%m%d%H%M}.nc"
        write_file(path, amount, time, variable="acc", units="mm")
    era = {
        "since": str(SECOND_ERA),
        "variable": "acc",
        "accumulation": "10min",
        "step": "10min",
        "time_in_name": "acc_%Y%m%d%H%M",
    }
    report = run(archive, radar / "*.nc", config=config_with(eras=[era]))
    assert (report.ingested, report.rejected) == (9, [])
    opened = Archive.open(archive)
    first = opened.index_of(SECOND_ERA)
    assert opened.status[first : first + 5].tolist() == [OK, MISSING, OK, MISSING, OK]
    np.testing.assert_allclose(opened.read(first, 1), 6.0, rtol=0.016)


def test_another_grid_needs_an_era_and_is_regridded_to_the_archives(radar, archive):
    write_scans(radar, 3)
    fine = np.repeat(np.repeat(rain(1)[0], 2, axis=0), 2, axis=1)
    fine_file = radar / f"rain_{SECOND_ERA:%Y%m%dT%H%M}.nc"
    write_file(fine_file, fine, SECOND_ERA, spacing_m=500.0)
    refused = run(archive, radar / "*.nc")
    assert refused.rejected_by_rule == {"other grid": 1}
    assert "describe the period under 'eras' in the configuration" in refused.rejected[0].reason
    eras = [{"since": str(SECOND_ERA), "regrid": "nearest"}]
    report = run(archive, radar / "*.nc", config=config_with(eras=eras))
    assert (report.ingested, report.unchanged, report.rejected) == (1, 3, [])
    opened = Archive.open(archive)
    codes = opened.codes[opened.index_of(SECOND_ERA)]
    # the centre of each coarse pixel is the centre of every second fine pixel
    assert np.array_equal(codes[:, :], codes_of(fine)[::2, ::2])


def test_regridding_needs_a_file_on_the_archives_own_grid(radar, archive):
    write_scans(radar, 2, first=SECOND_ERA, spacing_m=500.0)
    config = config_with(eras=[{"since": str(SECOND_ERA), "regrid": "nearest"}])
    with pytest.raises(ConfigError, match="let the first run include a file of a period without"):
        run(archive, radar / "*.nc", config=config)
    write_scans(radar, 2)
    report = run(archive, radar / "*.nc", config=config)
    assert (report.ingested, report.rejected) == (4, [])
    assert Archive.open(archive).grid.pixel_size == (1000.0, 1000.0)
