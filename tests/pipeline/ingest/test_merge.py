"""Which scan counts: re-issued, late, repeated, stuck; the same archive in whatever order."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK, REJECTED
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError
from squall.pipeline.ingest import reading
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    STEP,
    assert_same,
    config_with,
    contents,
    path_of,
    rain,
    run,
    write_file,
    write_scans,
)


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "a.icechunk"


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


@pytest.fixture
def reads(monkeypatch):
    """Addresses of the files that are opened, in order."""
    opened = []
    original = reading.local_copy

    def counted(file, options):
        opened.append(file.address)
        return original(file, options)

    monkeypatch.setattr(reading, "local_copy", counted)
    return opened


def codes_of(numbers):
    return RAIN_CODE.encode((numbers * 0.01).astype(np.float32))


def scan_at(archive, index):
    opened = Archive.open(archive)
    return opened.codes[opened.index_of(FIRST + index * STEP)]


# -- files that come again -------------------------------------------------------------------------


def test_a_duplicate_under_another_name_costs_nothing_from_the_third_run_on(radar, archive, reads):
    write_scans(radar, 4)
    run(archive, radar / "*.nc")
    shutil.copy(path_of(radar, FIRST), path_of(radar, FIRST, "_again"))
    shutil.copy(path_of(radar, FIRST + STEP), radar / "a_rain_20240601T0005.nc")
    second = run(archive, radar / "*.nc")
    assert (second.new_files, second.ingested, second.replaced) == (2, 0, 0)
    run(archive, radar / "*.nc")
    reads.clear()
    third = run(archive, radar / "*.nc")
    assert reads == []
    assert (third.found, third.unchanged, third.commits) == (6, 6, 0)
    assert third.complete


def test_a_touched_file_is_read_once_and_changes_nothing(radar, archive, reads):
    files = write_scans(radar, 4)
    run(archive, radar / "*.nc")
    before = contents(archive)
    os.utime(files[2], (1e9, 1e9))
    reads.clear()
    touched = run(archive, radar / "*.nc")
    assert reads == [str(files[2])]
    assert (touched.ingested, touched.replaced, touched.unchanged) == (0, 0, 4)
    reads.clear()
    run(archive, radar / "*.nc")
    assert reads == []
    assert_same(contents(archive), before, but=["log"])
    for _ in range(3):
        os.utime(files[2])
        run(archive, radar / "*.nc")
    assert len(contents(archive)["log"]) == 1, "the log must not grow with every touch"


def test_a_file_named_for_a_later_time_than_its_scans_is_read_once(radar, archive, reads):
    """As where the name tells when the product was made."""
    write_file(path_of(radar, FIRST + pd.Timedelta("1h")), rain(1), FIRST)
    run(archive, radar / "*.nc")
    reads.clear()
    assert run(archive, radar / "*.nc").unchanged == 1
    assert reads == []


def test_a_rejected_file_is_tried_again_when_the_configuration_changes(radar, archive, reads):
    write_scans(radar, 3)
    half = rain(1)
    half[:, :, 8:] = 65535
    bad = write_file(path_of(radar, FIRST + 3 * STEP), half, FIRST + 3 * STEP)
    strict = config_with(quality={"least_observed_share": 0.6})
    first = run(archive, radar / "*.nc", config=strict)
    assert first.rejected_by_rule == {"observed share": 1}
    assert "50.0% of the pixels are observed, at least 60.0%" in first.rejected[0].reason
    reads.clear()
    assert run(archive, radar / "*.nc", config=strict).complete
    assert reads == []
    lenient = config_with(quality={"least_observed_share": 0.4})
    report = run(archive, radar / "*.nc", config=lenient)
    assert reads == [str(bad)]
    assert (report.ingested, report.unchanged, report.rejected) == (1, 3, [])
    assert contents(archive)["log"] == []


def test_a_rejected_file_is_tried_again_by_another_release(radar, archive, reads, monkeypatch):
    write_scans(radar, 2)
    path_of(radar, FIRST + 2 * STEP).write_bytes(b"a format of tomorrow")
    assert len(run(archive, radar / "*.nc").rejected) == 1
    monkeypatch.setattr("squall.pipeline.ingest.file_marks.__version__", "99.0")
    reads.clear()
    assert len(run(archive, radar / "*.nc").rejected) == 1
    assert reads == [str(path_of(radar, FIRST + 2 * STEP))]
    assert len(contents(archive)["log"]) == 1


def test_a_changed_title_or_source_reads_nothing_again(radar, archive, reads):
    write_scans(radar, 2)
    path_of(radar, FIRST + 2 * STEP).write_bytes(b"broken")
    run(archive, radar / "*.nc")
    reads.clear()
    renamed = config_with(title="Tiny radar", attributes={"license": "CC0-1.0"}, lookback="5D")
    assert run(archive, radar / "*.nc", config=renamed).complete
    assert reads == []


def test_of_two_files_of_one_time_the_later_name_counts_whichever_came_first(radar, archive):
    numbers = rain(3)
    names = [path_of(radar, FIRST, suffix) for suffix in ("_v1", "_v2", "_v3")]
    for i in (1, 0, 2):
        write_file(names[i], numbers[i], FIRST)
        report = run(archive, names[i])
        assert report.superseded == (i == 0)
        assert report.replaced == (i == 2)
        assert np.array_equal(scan_at(archive, 0), codes_of(numbers[max(1, i)]))
    write_file(names[0], rain(1, seed=9)[0], FIRST)
    assert run(archive, radar / "*.nc").superseded >= 1
    assert np.array_equal(scan_at(archive, 0), codes_of(numbers[2]))
    assert contents(archive)["source"] == [str(names[2])]


# -- order -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Files of all sorts: good, broken, duplicates, second versions, a daily file, late ones."""
    folder = tmp_path_factory.mktemp("mixed")
    files = write_scans(folder, 5)
    files.append(folder / "rain_20240601T0010_copy.nc")
    shutil.copy(files[2], files[-1])
    files += write_scans(folder, 2, seed=5, first=FIRST + 40 * STEP)
    files.append(write_file(path_of(folder, FIRST + STEP, "_v2"), rain(1, seed=7)[0], FIRST + STEP))
    third = FIRST + 2 * STEP
    files.append(write_file(path_of(folder, third, "_day"), rain(4, 8), third))
    other = write_file(path_of(folder, FIRST + 8 * STEP), rain(1), FIRST + 8 * STEP, spacing_m=500)
    broken = path_of(folder, FIRST + 9 * STEP)
    broken.write_bytes(b"\x89HDF\r\n\x1a\nand no more")
    return [*files, other, broken]


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
def test_the_order_of_coming_does_not_matter(mixed, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("order")
    run(folder / "once", *mixed)
    # the first file decides on the grid, so that one must not be the odd one
    order = data.draw(st.permutations(mixed[:-2]))
    order = [order[0], *data.draw(st.permutations([*order[1:], *mixed[-2:]]))]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order) - 1), max_size=4)))
    for first, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        run(folder / "bit by bit", *order[first:end])
    assert_same(contents(folder / "bit by bit"), contents(folder / "once"), but=["log"])
    settled = run(folder / "bit by bit", *mixed)
    assert (settled.ingested, settled.replaced) == (0, 0)
    assert_same(contents(folder / "bit by bit"), contents(folder / "once"), but=["log"])


# -- a stuck radar ---------------------------------------------------------------------------------


def stuck(radar, pattern, seed=0):
    """One file a letter; equal letters are equal scans, a dot is an all-dry one."""
    fields = rain(26, seed)
    for i, letter in enumerate(pattern):
        numbers = np.zeros((SIZE, SIZE), np.uint16)
        if letter != ".":
            numbers = fields[ord(letter) - ord("a")]
        write_file(path_of(radar, FIRST + i * STEP), numbers, FIRST + i * STEP)


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_a_stuck_radar_is_refused_until_it_moves_again(at_once, radar, archive):
    """Whether the scans come in one run, in several, or one by one."""
    stuck(radar, "abbb..bb")
    files = sorted(radar.glob("*.nc"))
    for first in range(0, 8, at_once):
        run(archive, *files[first : first + at_once])
    opened = Archive.open(archive)
    assert opened.status.tolist() == [OK, OK, REJECTED, REJECTED, OK, OK, OK, REJECTED]
    reasons = {r.time: (r.rule, r.reason) for r in opened.rejections}
    assert reasons[FIRST + 3 * STEP] == (
        "identical scans",
        "equals the scan of 2024-06-01 00:10 in every pixel",
    )


def test_a_stuck_radar_is_refused_across_the_batches_of_one_run(radar, archive, monkeypatch):
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)
    stuck(radar, "aaab")
    report = run(archive, radar / "*.nc")
    assert report.commits >= 2
    assert Archive.open(archive).status.tolist() == [OK, REJECTED, REJECTED, OK]


def test_stuck_scans_that_come_late_are_not_both_kept(radar, archive):
    stuck(radar, "aab")
    for index in (2, 1, 0):
        run(archive, path_of(radar, FIRST + index * STEP))
    assert np.count_nonzero(Archive.open(archive).status == OK) == 2


def test_identical_scans_are_kept_where_the_configuration_says_so(radar, archive):
    stuck(radar, "aaa")
    report = run(archive, radar / "*.nc", config=config_with(quality={"reject_identical": False}))
    assert (report.ingested, report.rejected) == (3, [])


def test_a_stuck_scan_is_replaced_by_its_reissue(radar, archive):
    stuck(radar, "aab")
    run(archive, radar / "*.nc")
    write_file(path_of(radar, FIRST + STEP), rain(1, seed=4)[0], FIRST + STEP)
    assert run(archive, radar / "*.nc").ingested == 1
    assert (Archive.open(archive).status == OK).all()
    assert contents(archive)["log"] == []


# -- quality rules in the report -------------------------------------------------------------------


def test_each_rule_is_counted(radar, archive, tmp_path):
    numbers = rain(6)
    numbers[0, :2, :3] = 15_000  # 6 of 256 pixels above 100 mm/h: hidden
    numbers[1, :8] = 15_000  # half of them: refused
    numbers[2, 2:] = 65535
    mask = np.zeros((SIZE, SIZE))
    mask[4, :5] = 1
    clutter = xr.Dataset({"clutter": (("y", "x"), mask)}, {"y": -np.arange(SIZE), "x": range(SIZE)})
    clutter.to_netcdf(tmp_path / "clutter.nc4")
    for i, scan in enumerate(numbers[:4]):
        write_file(path_of(radar, FIRST + i * STEP), scan, FIRST + i * STEP)
    write_file(path_of(radar, FIRST + 4 * STEP), numbers[4], FIRST - pd.Timedelta("1D"))
    late = FIRST + 5 * STEP
    write_file(path_of(radar, late), numbers[5], late + pd.Timedelta("100s"))
    quality = {
        "highest_mm_h": 100.0,
        "highest_share": 0.05,
        "least_observed_share": 0.5,
        "clutter_mask": str(tmp_path / "clutter.nc4"),
    }
    report = run(archive, radar / "*.nc", config=config_with(quality=quality))
    assert report.ingested == 2
    assert report.rejected_by_rule == {
        "physical range": 1,
        "observed share": 1,
        "name and time": 1,
        "off the step": 1,
    }
    assert report.masked_px["physical range"] == 6
    assert report.masked_px["clutter mask"] >= 10
    assert (scan_at(archive, 0)[:2, :3] == RAIN_CODE.NOT_OBSERVED).all()
    assert (scan_at(archive, 3)[4, :5] == RAIN_CODE.NOT_OBSERVED).all()
    opened = Archive.open(archive)
    first = opened.index_of(FIRST)
    assert opened.status[first : first + 4].tolist() == [OK, REJECTED, REJECTED, OK]


def test_a_clutter_mask_without_coordinates_lies_as_the_archive(radar, archive, tmp_path):
    write_scans(radar, 1)
    mask = np.zeros((SIZE, SIZE), np.int8)
    mask[4, :5] = 1
    xr.Dataset({"clutter": (("y", "x"), mask)}).to_netcdf(tmp_path / "clutter.nc4")
    quality = {"clutter_mask": str(tmp_path / "clutter.nc4")}
    run(archive, radar / "*.nc", config=config_with(quality=quality))
    assert np.array_equal(scan_at(archive, 0) == RAIN_CODE.NOT_OBSERVED, mask == 1)


def test_a_wrong_year_in_a_broken_files_name_does_not_lengthen_the_archive(radar, archive):
    write_scans(radar, 3)
    (radar / "rain_19800601T0000.nc").write_bytes(b"broken")
    report = run(archive, radar / "*.nc")
    assert (report.ingested, len(report.rejected)) == (3, 1)
    opened = Archive.open(archive)
    assert opened.status.tolist() == [OK] * 3
    assert [r.time for r in opened.rejections] == [pd.Timestamp("1980-06-01")]
    assert run(archive, radar / "*.nc").complete


def test_a_rejected_scan_beside_the_others_has_its_slot(radar, archive):
    write_scans(radar, 2)
    path_of(radar, FIRST + 3 * STEP).write_bytes(b"broken")
    run(archive, radar / "*.nc")
    assert Archive.open(archive).status.tolist() == [OK, OK, MISSING, REJECTED]


# -- eras ------------------------------------------------------------------------------------------

SECOND_ERA = FIRST + pd.Timedelta("1D")


def test_an_era_may_have_another_variable_unit_and_step(radar, archive):
    write_scans(radar, 6)
    slower = pd.Timedelta("10min")
    for i in range(3):
        time = SECOND_ERA + i * slower
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


def test_another_grid_needs_an_era_and_is_brought_to_the_archives(radar, archive):
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
    found = opened.codes[opened.index_of(SECOND_ERA)]
    # the centre of a coarse pixel is that of every second fine one
    assert np.array_equal(found[:, :], codes_of(fine)[::2, ::2])


def test_regridding_needs_a_file_of_the_archives_own_grid(radar, archive):
    write_scans(radar, 2, first=SECOND_ERA, spacing_m=500.0)
    config = config_with(eras=[{"since": str(SECOND_ERA), "regrid": "nearest"}])
    with pytest.raises(ConfigError, match="let the first run include a file of a period without"):
        run(archive, radar / "*.nc", config=config)
    write_scans(radar, 2)
    report = run(archive, radar / "*.nc", config=config)
    assert (report.ingested, report.rejected) == (4, [])
    assert Archive.open(archive).grid.pixel_size == (1000.0, 1000.0)
