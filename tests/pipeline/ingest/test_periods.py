"""Which files a period finds: names in zip and tar, names that mark a start, no period."""

import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.pipeline.cli.main import main
from tests.pipeline.tiny_radar import (
    FIRST,
    STEP,
    VALUES,
    codes_of,
    config_with,
    path_of,
    rain,
    run,
    scan_at,
    write_file,
    write_scans,
)


def pack(kind, target, paths, names=None):
    """Write files into a zip or tar file."""
    names = names or [path.name for path in paths]
    pairs = zip(paths, names, strict=True)
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as container:
            for path, name in pairs:
                container.write(path, name)
    else:
        with tarfile.open(target, "w") as container:
            for path, name in pairs:
                container.add(path, name)


def good_times(archive):
    opened = Archive.open(archive)
    return list(opened.times[np.flatnonzero(opened.status == OK)])


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("folder", ["", "deep/"])
def test_a_period_finds_members_of_a_container_by_their_own_names(
    kind, folder, radar, archive, tmp_path, reads
):
    paths = write_scans(radar, 6)
    pack(kind, tmp_path / f"day.{kind}", paths, [folder + path.name for path in paths])
    pattern = f"{kind}://**::{tmp_path}/day.{kind}"
    report = run(archive, pattern, since=FIRST + 2 * STEP, until=FIRST + 4 * STEP)
    assert (report.found, report.ingested) == (3, 3)
    assert good_times(archive) == [FIRST + i * STEP for i in (2, 3, 4)]
    reads.clear()
    assert run(archive, pattern, since=FIRST + 2 * STEP, until=FIRST + 4 * STEP).new_files == 0
    assert run(archive, pattern).ingested == 3
    assert len(reads) == 3


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_the_name_of_a_member_decides_not_that_of_its_container(kind, radar, archive, tmp_path):
    for version, container in ((1, "z_first"), (2, "a_second")):
        path = write_file(path_of(radar, FIRST, f"_v{version}"), rain(1, version), FIRST)
        pack(kind, tmp_path / f"{container}.{kind}", [path])
    for container in ("a_second", "z_first"):
        run(archive, f"{kind}://*::{tmp_path}/{container}.{kind}")
    assert (scan_at(archive, 0) == codes_of(rain(1, seed=2)[0])).all()


def test_the_period_begins_before_midnight_where_names_mark_the_start(radar, archive):
    start = config_with(
        units="mm", accumulation="5min", time_marks="start", time_in_name="rain_%Y%m%dT%H%M"
    )
    midnight = FIRST + pd.Timedelta("1D")
    for first, count in ((midnight - 3 * STEP, 3), (midnight, 3)):
        write_scans(radar / f"{first:%Y%m%d}", count, first=first, seed=count + first.day)
    pattern = f"{radar}/{{time:%Y%m%d}}/*.nc"
    report = run(archive, pattern, config=start, since=midnight, until=midnight + 2 * STEP)
    assert good_times(archive) == [midnight, midnight + STEP, midnight + 2 * STEP]
    assert (report.found, report.ingested) == (3, 3)


def test_the_period_finds_a_daily_file_of_the_day_before(radar, archive):
    daily = config_with(file_span="1D", time_in_name="rain_%Y%m%d")
    write_file(radar / f"{FIRST:%Y%m%d}" / f"rain_{FIRST:%Y%m%d}.nc", rain(288), FIRST)
    last = FIRST + 287 * STEP
    pattern = f"{radar}/{{time:%Y%m%d}}/*.nc"
    report = run(archive, pattern, config=daily, since=last, until=last + 5 * STEP)
    assert (report.ingested, good_times(archive)) == (1, [last])


@pytest.mark.parametrize(
    ("period", "message"),
    [
        (("--since", "2024-06-02", "--until", "2024-06-01"), "is after --until"),
        (("--since", "1h", "--until", "2h"), "is after --until"),
        (("--since", "2124-06-02"), "is in the future"),
    ],
)
def test_a_period_without_a_moment_is_an_error(period, message, radar, archive, tmp_path, capsys):
    write_scans(radar, 2)
    config = tmp_path / "c.yaml"
    config.write_text("\n".join(f"{key}: {value}" for key, value in VALUES.items()))
    command = ["ingest", str(config), "--archive", str(archive), "--files", f"{radar}/*.nc"]
    assert main([*command, *period]) == 2
    assert message in capsys.readouterr().err


def test_a_first_commit_of_rejections_alone_where_scans_lie_off_the_hour(radar, archive, reads):
    """The good scans lie before the period, so that the first commit knows a grid but no start."""
    config = config_with(phase="2min", file_span="1h", quality={"least_observed_share": 0.5})
    first = FIRST + pd.Timedelta("2min")
    scans = rain(3)
    scans[2] = 65535
    write_file(path_of(radar, first), scans, first)
    report = run(archive, radar / "*.nc", config=config, since=first + 2 * STEP)
    assert (report.ingested, len(report.rejected), report.commits) == (0, 1, 1)
    assert [entry.time for entry in Archive.open(archive).rejections] == [first + 2 * STEP]
    again = run(archive, radar / "*.nc", config=config, since=first + 2 * STEP)
    assert (again.ingested, again.complete) == (0, False)
    assert run(archive, radar / "*.nc", config=config).ingested == 2
    assert good_times(archive) == [first, first + STEP]
    reads.clear()
    settled = run(archive, radar / "*.nc", config=config)
    assert (settled.new_files, len(settled.standing), reads) == (0, 1, [])
