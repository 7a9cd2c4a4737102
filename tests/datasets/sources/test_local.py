"""Local files, and time parts of patterns."""

import errno
import os
import socket
import time
from pathlib import Path

import pandas as pd
import pytest

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.sources.access import FileVanished, SourceUnavailable
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files
from squall.datasets.sources.patterns import expand_times
from tests.datasets.sources.temporary_storage import (
    JUNE_1,
    JUNE_3,
    addresses,
    put,
    read,
)
from tests.s3_server import moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)

# Local files


def test_a_relative_glob_gives_relative_paths_by_name(folder):
    for name in ("b/2.nc", "a/3.nc", "a/1.nc", "a/1.txt"):
        put(name)
    assert addresses("*/*.nc") == ["a/1.nc", "b/2.nc", "a/3.nc"]
    assert addresses("a/[13].nc") == ["a/1.nc", "a/3.nc"]
    assert addresses("a/?.txt") == ["a/1.txt"]
    assert addresses("../radar/a/[!1].nc") == ["../radar/a/3.nc"]
    assert addresses("*.nc") == []


def test_a_file_knows_its_size_name_and_version(folder):
    put("a/rain.nc", b"12345")
    (file,) = find_files(["a/*.nc"])
    status = Path("a/rain.nc").stat()
    assert (file.name, file.size) == ("rain.nc", 5)
    assert file.version == f"5-{status.st_mtime_ns}"
    put("a/rain.nc", b"54321")
    os.utime("a/rain.nc", ns=(0, status.st_mtime_ns + 1))
    assert find_files(["a/*.nc"])[0].version != file.version


def test_double_stars_span_folders(folder):
    for name in ("x.nc", "a/x.nc", "a/b/x.nc", "a/b/y.txt", "c/b/z.nc"):
        put(name)
    assert addresses("**/*.nc") == ["a/b/x.nc", "a/x.nc", "x.nc", "c/b/z.nc"]
    assert addresses("**/b/*.nc") == ["a/b/x.nc", "c/b/z.nc"]
    assert addresses("a/**") == ["a/b/x.nc", "a/x.nc", "a/b/y.txt"]
    assert addresses("**/**/y.*") == ["a/b/y.txt"]
    assert addresses("a**/x.nc") == ["a/x.nc"]  # within a name, ** means the same as *


def test_the_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    put("in/x.nc")
    assert addresses("~/in/*.nc") == [f"{folder}/in/x.nc"]


def test_hidden_files_and_folders_have_to_be_written_out(folder):
    for name in (".x.nc.part", ".rsync/x.nc", "x.nc", "lost+found/x.nc"):
        put(name)
    assert addresses("**/*", "*.part") == ["x.nc"]
    assert addresses(".*") == [".x.nc.part"]
    assert addresses(".rsync/*") == [".rsync/x.nc"]
    assert addresses("lost+found/*") == ["lost+found/x.nc"]


@pytest.mark.parametrize("name", ["a b.nc", "Wärme–雨.nc", "'quoted\".nc", "100%.nc", "a::b.nc"])
def test_odd_names_are_found_and_read(folder, name):
    put(name, b"odd")
    (file,) = find_files(["*.nc"])
    assert (file.address, file.name) == (name, name)
    assert read(file) == b"odd"
    assert addresses(name) == [name]


@pytest.mark.parametrize("name", ["rain[1].nc", "{rain}.nc", "rain*.nc", "{time:%Q}.nc"])
def test_an_existing_path_is_taken_literally(folder, name):
    put(name)
    put("rain1.nc")
    put("rain2.nc")
    assert addresses(name) == [name]
    assert name in addresses("*.nc")


def test_only_regular_files_are_listed(folder):
    put("a/x.nc")
    (folder / "folder.nc").mkdir()
    os.mkfifo("pipe.nc")
    with socket.socket(socket.AF_UNIX) as unix_socket:
        unix_socket.bind("socket.nc")
        Path("broken.nc").symlink_to("nowhere")
        Path("loop.nc").symlink_to("loop.nc")
        Path("link.nc").symlink_to("a/x.nc")
        assert addresses("*", "pipe.nc", "a") == ["link.nc"]


def test_a_file_is_listed_once_for_all_patterns(folder):
    put("a/x.nc")
    put("a/y.nc")
    patterns = ["a/x.nc", "a/*.nc", f"{folder}/a/*.nc", f"file://{folder}/**/*.nc", "a//x.nc"]
    assert addresses(*patterns) == ["a/x.nc", "a/y.nc"]


def test_loops_of_links_end_and_linked_folders_are_entered(folder, tmp_path):
    put("2024/06/x.nc")
    Path("2024/06/up").symlink_to(folder)
    Path("a").mkdir()
    Path("b").mkdir()
    Path("a/to_b").symlink_to(folder / "b")
    Path("b/to_a").symlink_to(folder / "a")
    Path("0_latest").symlink_to("2024/06")
    put(tmp_path / "disk" / "deep" / "old.nc")
    Path("2019").symlink_to(tmp_path / "disk")
    assert addresses("**/*.nc") == ["2019/deep/old.nc", "2024/06/x.nc"]
    assert addresses("0_latest/*.nc") == ["0_latest/x.nc"]
    assert addresses("*/x.nc") == ["0_latest/x.nc"]


def test_the_error_for_a_missing_path_names_the_current_folder(folder):
    with pytest.raises(DataError, match=rf"a/x\.nc: there is no such file.*{folder}") as raised:
        find_files(["a/x.nc"])
    assert not isinstance(raised.value, SourceUnavailable)
    Path("broken.nc").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"broken\.nc: there is no such file"):
        find_files(["broken.nc"])


def test_a_missing_folder_is_an_outage_but_not_below_a_glob(folder):
    with pytest.raises(SourceUnavailable, match=r"mnt/radar/: cannot be listed: No such file"):
        find_files(["mnt/radar/*.nc"])
    put("a/file")
    assert addresses("*/deeper/*.nc") == []
    assert addresses("a/file/*.nc") == []


def test_a_folder_that_may_not_be_read_is_an_outage(folder, monkeypatch):
    put("a/secret/x.nc")
    put("a/open/x.nc")
    scandir = os.scandir

    def refusing(path):  # root may read everything, so permissions alone would not show it
        if str(path).startswith("a/secret"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(SourceUnavailable, match="a/secret/: cannot be reached: Permission denied"):
        find_files(["a/**/*.nc"])
    assert addresses("a/open/*.nc") == ["a/open/x.nc"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions_of_the_system_are_an_outage(folder):
    put("a/x.nc")
    Path("a").chmod(0)
    try:
        with pytest.raises(SourceUnavailable, match="Permission denied"):
            find_files(["a/*.nc"])
    finally:
        Path("a").chmod(0o700)


def test_a_file_that_vanishes_during_the_listing_is_left_out(folder, monkeypatch):
    put("x.nc")
    put("y.nc")
    stat = os.stat

    def stat_after_deletion(path, **options):
        if path == "x.nc":
            Path("x.nc").unlink(missing_ok=True)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", stat_after_deletion)
    assert addresses("*.nc") == ["y.nc"]


def test_a_local_file_is_read_in_place(folder):
    put("x.nc")
    (file,) = find_files([f"file://{folder}/*.nc"])
    assert file.address == f"{folder}/x.nc"
    with local_copy(file, {}) as path:
        assert path == folder / "x.nc"
    assert path.exists()
    path.unlink()
    with pytest.raises(FileVanished, match=r"x\.nc: was listed but no longer exists"):
        read(file)


@pytest.mark.parametrize("pattern", ["", "a\0.nc"])
def test_an_impossible_path_is_refused(pattern):
    with pytest.raises(ConfigError, match="no path or address"):
        find_files([pattern])


# Time parts


def test_days_are_expanded_from_first_to_last(folder):
    for day in ("2024/05/31", "2024/06/01", "2024/06/03", "2024/06/04"):
        put(f"in/{day}/x.nc")
    pattern = "in/{time:%Y/%m/%d}/*.nc"
    span = {"since": JUNE_1 + pd.Timedelta("7h"), "until": JUNE_3}
    assert addresses(pattern, **span) == ["in/2024/06/01/x.nc", "in/2024/06/03/x.nc"]


def test_only_the_folders_of_the_wanted_days_are_listed(folder, monkeypatch):
    for day in range(1, 29):
        put(f"in/2024/02/{day:02d}/x.nc")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    first = pd.Timestamp("2024-02-27")
    span = {"since": first, "until": pd.Timestamp("2024-03-01")}
    addresses("in/{time:%Y}/{time:%m}/{time:%d}/*.nc", **span)
    assert sorted(listed) == [
        "in/2024/02/27/",
        "in/2024/02/28/",
        "in/2024/02/29/",
        "in/2024/03/01/",
    ]


@pytest.mark.parametrize(
    ("time_format", "count", "last"),
    [
        ("%Y", 2, "2024"),
        ("%y", 2, "24"),
        ("%Y%m", 7, "202406"),
        ("%Y%j", 164, "2024153"),
        ("%Y%m%d", 164, "20240601"),
        ("%Y%m%d_%H", 163 * 24 + 2 - 23, "20240601_01"),
        ("%d%%", 31, "31%"),
    ],
)
def test_the_finest_directive_sets_the_step_and_no_address_repeats(time_format, count, last):
    since, until = pd.Timestamp("2023-12-21 23:59:59"), pd.Timestamp("2024-06-01 01:01")
    expanded = expand_times(f"a/{{time:{time_format}}}.nc", since, until)
    assert len(expanded) == len(set(expanded))
    assert f"a/{last}.nc" in expanded
    assert len(expanded) == count


def test_minutes_are_the_finest_step():
    since, until = pd.Timestamp("2024-05-31 23:58:59"), pd.Timestamp("2024-06-01 00:01")
    assert expand_times("{time:%H%M}", since, until) == ["2358", "2359", "0000", "0001"]


def test_a_name_may_have_a_time_part_and_a_glob(folder):
    for name in ("R_202406010000_v1.nc", "R_202406010005_v2.nc", "R_202406020000_v1.nc"):
        put(name)
    put("R_202406040000_v1.nc")
    span = {"since": JUNE_1, "until": JUNE_3}
    first, second, third = (
        "R_202406010000_v1.nc",
        "R_202406010005_v2.nc",
        "R_202406020000_v1.nc",
    )
    assert addresses("R_{time:%Y%m%d%H%M}_*.nc", **span) == [first, second, third]
    assert addresses("R_{time:%Y%m%d%H%M}_v1.nc", **span) == [first, third]
    assert addresses("*_{time:%Y%m%d}*.nc", **span) == [first, second, third]


def test_without_until_the_period_ends_now(folder):
    today = pd.Timestamp.now(tz="UTC").tz_localize(None)
    put(f"{today:%Y%m%d}.nc")
    put(f"{today + pd.Timedelta('3D'):%Y%m%d}.nc")
    assert addresses("{time:%Y%m%d}.nc", since=today) == [f"{today:%Y%m%d}.nc"]


def test_a_period_that_ends_before_it_starts_has_no_files(folder):
    put("20240601.nc")
    assert addresses("{time:%Y%m%d}.nc", since=JUNE_3, until=JUNE_1) == []


def test_a_time_part_without_a_first_time_is_refused():
    with pytest.raises(ConfigError, match=r"give --since .* or `begins:` in the configuration"):
        find_files(["in/{time:%Y}/*.nc"])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{time:%Y-%S}.nc", r"has %S; known are .*write \* for seconds"),
        ("{time:%Y%}.nc", "has %; known are"),
        ("{time:now}.nc", "has no directive"),
        ("{time:}.nc", "has no directive"),
        ("{time}.nc", "braces may only hold the time"),
        ("{date:%Y}.nc", "braces may only hold the time"),
        ("{time:%Y.nc", "braces may only hold the time"),
        ("{time:%Y}}.nc", "braces may only hold the time"),
        ("s3://b/{}/*.nc", "braces may only hold the time"),
    ],
)
def test_braces_that_hold_no_time_are_refused(folder, pattern, message):
    with pytest.raises(ConfigError, match=message):
        find_files([pattern], since=JUNE_1)


def test_braces_that_belong_to_a_name_are_written_in_brackets(folder):
    put("{a}2024.nc")
    pattern = "[{]a[}]{time:%Y}.nc"
    assert addresses(pattern, since=JUNE_1, until=JUNE_3) == ["{a}2024.nc"]


def test_too_many_addresses_are_refused_before_they_are_expanded(folder):
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=r"6\d,\d{3},\d{3} addresses .* give a later --since"):
        find_files(["{time:%Y%m%d%H%M}.nc"], since=pd.Timestamp("1900-01-01"))
    assert time.perf_counter() - started < 5


def test_a_dated_pattern_on_a_missing_disk_is_an_outage(folder):
    with pytest.raises(SourceUnavailable, match="mnt/: cannot be listed"):
        find_files(["mnt/{time:%Y/%m/%d}/x.nc"], since=JUNE_1, until=JUNE_3)
