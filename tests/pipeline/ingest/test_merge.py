"""Which scan counts: re-issued, repeated and late files, in any order."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipeline.tiny_radar import (
    FIRST,
    STEP,
    assert_same,
    codes_of,
    config_with,
    contents,
    path_of,
    rain,
    run,
    scan_at,
    write_file,
    write_scans,
)


def test_a_duplicate_under_another_name_is_not_read_from_the_third_run_on(radar, archive, reads):
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


def test_a_file_with_a_later_time_in_its_name_than_its_scans_is_read_once(radar, archive, reads):
    """The name may give the time at which the product was made."""
    write_file(path_of(radar, FIRST + pd.Timedelta("1h")), rain(1), FIRST)
    run(archive, radar / "*.nc")
    reads.clear()
    assert run(archive, radar / "*.nc").unchanged == 1
    assert reads == []


def test_a_rejected_file_is_read_again_when_the_configuration_changes(radar, archive, reads):
    write_scans(radar, 3)
    half = rain(1)
    half[:, :, 8:] = 65535
    bad = write_file(path_of(radar, FIRST + 3 * STEP), half, FIRST + 3 * STEP)
    strict = config_with(quality={"least_observed_share": 0.6})
    first = run(archive, radar / "*.nc", config=strict)
    assert first.rejected_by_rule == {"observed share": 1}
    assert "50.0% of the pixels are observed, at least 60.0%" in first.rejected[0].reason
    reads.clear()
    assert run(archive, radar / "*.nc", config=strict).standing == first.rejected
    assert reads == []
    lenient = config_with(quality={"least_observed_share": 0.4})
    report = run(archive, radar / "*.nc", config=lenient)
    assert reads == [str(bad)]
    assert (report.ingested, report.unchanged, report.rejected) == (1, 3, [])
    assert contents(archive)["log"] == []


def test_a_rejected_file_is_read_again_by_another_release(radar, archive, reads, monkeypatch):
    write_scans(radar, 2)
    path_of(radar, FIRST + 2 * STEP).write_bytes(b"a format of a later release")
    assert len(run(archive, radar / "*.nc").rejected) == 1
    monkeypatch.setattr("squall.pipeline.ingest.file_marks.__version__", "99.0")
    reads.clear()
    assert len(run(archive, radar / "*.nc").rejected) == 1
    assert reads == [str(path_of(radar, FIRST + 2 * STEP))]
    assert len(contents(archive)["log"]) == 1


def test_a_changed_title_or_source_does_not_read_files_again(radar, archive, reads):
    write_scans(radar, 2)
    path_of(radar, FIRST + 2 * STEP).write_bytes(b"broken")
    run(archive, radar / "*.nc")
    reads.clear()
    renamed = config_with(title="Tiny radar", attributes={"license": "CC0-1.0"}, lookback="5D")
    assert run(archive, radar / "*.nc", config=renamed).new_files == 0
    assert reads == []


def test_the_file_with_the_later_name_counts_in_any_order(radar, archive):
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
    """Files of all kinds: good, broken, duplicate, re-issued, a daily file, late ones."""
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
    broken.write_bytes(b"\x89HDF\r\n\x1a\ncut off")
    return [*files, other, broken]


@pytest.fixture(scope="module")
def read_at_once(mixed, tmp_path_factory):
    """Content of the archive of all files, if they are read in one run."""
    archive = tmp_path_factory.mktemp("once") / "a.icechunk"
    run(archive, *mixed)
    return contents(archive)


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
def test_the_order_in_which_files_arrive_does_not_matter(
    mixed, read_at_once, tmp_path_factory, data
):
    archive = tmp_path_factory.mktemp("order") / "a.icechunk"
    # the first file decides the grid, so it must not be the one on another grid
    order = data.draw(st.permutations(mixed[:-2]))
    order = [order[0], *data.draw(st.permutations([*order[1:], *mixed[-2:]]))]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order) - 1), max_size=4)))
    for first, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        run(archive, *order[first:end])
    assert_same(contents(archive), read_at_once, but=["log"])
    settled = run(archive, *mixed)
    assert (settled.ingested, settled.replaced) == (0, 0)
    assert_same(contents(archive), read_at_once, but=["log"])
