import errno
import gzip
import io
import os
import shutil
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from unittest import mock

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from datasets.errors import ConfigError, DataError
from datasets.sources import (
    FileVanished,
    OpenArchives,
    SourceFile,
    SourceUnavailable,
    find_files,
    local_copy,
)
from datasets.sources.access import unavailable
from datasets.sources.patterns import expand_times
from tests.s3_server import moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)

JUNE_1, JUNE_3 = pd.Timestamp("2024-06-01"), pd.Timestamp("2024-06-03")
QUICK_S3 = {
    "config_kwargs": {
        "connect_timeout": 0.5,
        "read_timeout": 0.5,
        "retries": {"mode": "standard", "total_max_attempts": 1},
    }
}
QUICK_HTTP = {"client_kwargs": {"timeout": {"sock_connect": 0.5, "sock_read": 0.5}}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    place = tmp_path / "radar"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def put(path: Path | str, content: bytes = b"rain") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def addresses(*patterns: str, options: dict | None = None, **span: pd.Timestamp) -> list[str]:
    return [file.address for file in find_files(patterns, options or {}, **span)]


def read(file: SourceFile, options: dict | None = None) -> bytes:
    with local_copy(file, options or {}) as path:
        return path.read_bytes()


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
    assert addresses("a**/x.nc") == ["a/x.nc"]  # not a level of its own: as one star


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
def test_a_path_that_exists_is_that_file_whatever_its_characters(folder, name):
    put(name)
    put("rain1.nc")
    put("rain2.nc")
    assert addresses(name) == [name]
    assert name in addresses("*.nc")


def test_folders_and_what_is_no_plain_file_are_left_out(folder):
    put("a/x.nc")
    (folder / "folder.nc").mkdir()
    os.mkfifo("pipe.nc")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("plug.nc")
        Path("broken.nc").symlink_to("nowhere")
        Path("loop.nc").symlink_to("loop.nc")
        Path("link.nc").symlink_to("a/x.nc")
        assert addresses("*", "pipe.nc", "a") == ["link.nc"]


def test_a_file_is_listed_once_for_all_patterns(folder):
    put("a/x.nc")
    put("a/y.nc")
    found = addresses("a/x.nc", "a/*.nc", f"{folder}/a/*.nc", f"file://{folder}/**/*.nc", "a//x.nc")
    assert found == ["a/x.nc", "a/y.nc"]


def test_loops_of_links_end_and_linked_disks_are_entered(folder, tmp_path):
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


def test_a_path_that_does_not_exist_says_where_it_was_looked_for(folder):
    with pytest.raises(DataError, match=rf"a/x\.nc: there is no such file.*{folder}") as raised:
        find_files(["a/x.nc"])
    assert not isinstance(raised.value, SourceUnavailable)
    Path("broken.nc").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"broken\.nc: there is no such file"):
        find_files(["broken.nc"])


def test_a_missing_folder_is_an_outage_and_a_missing_one_below_a_glob_is_not(folder):
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


def test_a_file_that_goes_while_its_folder_is_listed_is_left_out(folder, monkeypatch):
    put("x.nc")
    put("y.nc")
    stat = os.stat

    def late(path, **how):
        if path == "x.nc":
            Path("x.nc").unlink(missing_ok=True)
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", late)
    assert addresses("*.nc") == ["y.nc"]


def test_a_local_file_is_read_where_it_is(folder):
    put("x.nc")
    (file,) = find_files([f"file://{folder}/*.nc"])
    assert file.address == f"{folder}/x.nc"
    with local_copy(file, {}) as path:
        assert path == folder / "x.nc"
    assert path.exists()
    path.unlink()
    with pytest.raises(FileVanished, match=r"x\.nc: was listed and is not there any more"):
        read(file)


@pytest.mark.parametrize("pattern", ["", "a\0.nc"])
def test_what_cannot_be_a_path_is_refused(pattern):
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
    ("part", "count", "last"),
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
def test_the_finest_directive_is_the_step_and_each_address_comes_once(part, count, last):
    since, until = pd.Timestamp("2023-12-21 23:59:59"), pd.Timestamp("2024-06-01 01:01")
    found = expand_times(f"a/{{time:{part}}}.nc", since, until)
    assert len(found) == len(set(found))
    assert f"a/{last}.nc" in found
    assert len(found) == count


def test_minutes_are_the_finest_step():
    since, until = pd.Timestamp("2024-05-31 23:58:59"), pd.Timestamp("2024-06-01 00:01")
    assert expand_times("{time:%H%M}", since, until) == ["2358", "2359", "0000", "0001"]


def test_time_and_glob_stand_in_a_name_together(folder):
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


def test_without_an_end_the_clock_is_the_end(folder):
    today = pd.Timestamp.now(tz="UTC").tz_localize(None)
    put(f"{today:%Y%m%d}.nc")
    put(f"{today + pd.Timedelta('3D'):%Y%m%d}.nc")
    assert addresses("{time:%Y%m%d}.nc", since=today) == [f"{today:%Y%m%d}.nc"]


def test_an_end_before_the_start_is_nothing(folder):
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
        ("{time}.nc", "braces hold the time"),
        ("{date:%Y}.nc", "braces hold the time"),
        ("{time:%Y.nc", "braces hold the time"),
        ("{time:%Y}}.nc", "braces hold the time"),
        ("s3://b/{}/*.nc", "braces hold the time"),
    ],
)
def test_braces_that_are_no_time_are_refused(folder, pattern, message):
    with pytest.raises(ConfigError, match=message):
        find_files([pattern], since=JUNE_1)


def test_braces_of_a_name_are_written_in_brackets(folder):
    put("{a}2024.nc")
    pattern = "[{]a[}]{time:%Y}.nc"
    assert addresses(pattern, since=JUNE_1, until=JUNE_3) == ["{a}2024.nc"]


def test_too_many_addresses_are_refused_before_they_are_made(folder):
    began = time.perf_counter()
    with pytest.raises(ConfigError, match=r"6\d,\d{3},\d{3} addresses .* give a later --since"):
        find_files(["{time:%Y%m%d%H%M}.nc"], since=pd.Timestamp("1900-01-01"))
    assert time.perf_counter() - began < 5


def test_a_dated_pattern_on_a_disk_that_is_gone_is_an_outage(folder):
    with pytest.raises(SourceUnavailable, match="mnt/: cannot be listed"):
        find_files(["mnt/{time:%Y/%m/%d}/x.nc"], since=JUNE_1, until=JUNE_3)


# Archives


def zipped(path: Path | str | io.BytesIO, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def tarred(path: Path | str, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000
            archive.addfile(member, io.BytesIO(content))


def test_files_in_a_zip_are_found_and_copied(folder):
    zipped("day.zip", {"x.nc": b"one", "sub/y.nc": b"three", "sub/": b"", "sub/.z.nc": b""})
    files = find_files(["zip://**/*.nc::day.zip"])
    assert [file.address for file in files] == ["zip://x.nc::day.zip", "zip://sub/y.nc::day.zip"]
    assert [(file.name, file.size) for file in files] == [("x.nc", 3), ("y.nc", 5)]
    assert [read(file) for file in files] == [b"one", b"three"]
    assert addresses("zip://*.nc::day.zip") == ["zip://x.nc::day.zip"]
    assert addresses("zip://sub/*.nc::day.zip") == ["zip://sub/y.nc::day.zip"]
    assert addresses("zip:///sub/y.nc::day.zip") == ["zip://sub/y.nc::day.zip"]
    assert addresses("zip://none.nc::day.zip") == []
    assert len(addresses("zip://::day.zip")) == 2
    with local_copy(files[1], {}) as path:
        assert path.name == "y.nc"
    assert not path.parent.exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_files_in_a_tar_are_found_and_copied(folder, mode):
    tarred("12:00.tgz", {"./a/x.nc": b"old", "y.nc": b"two", "a/x.nc": b"newer"}, mode)
    files = find_files([f"tar://**/*.nc::{folder}/12:00.tgz"])
    assert [file.name for file in files] == ["x.nc", "y.nc"]
    assert [read(file) for file in files] == [b"newer", b"two"]


def test_links_and_devices_in_a_tar_are_left_out(folder):
    with tarfile.open("x.tar", "w") as archive:
        for name, kind in (("link.nc", tarfile.SYMTYPE), ("dev.nc", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert addresses("tar://**::x.tar") == []


def test_the_version_in_an_archive_follows_the_content_of_the_file(folder):
    zipped("day.zip", {"x.nc": b"one", "y.nc": b"two"})
    before = find_files(["zip://*.nc::day.zip"])
    zipped("day.zip", {"x.nc": b"eno", "y.nc": b"two"})
    after = find_files(["zip://*.nc::day.zip"])
    assert before[0].version != after[0].version
    assert before[1].version == after[1].version


def test_time_and_globs_stand_before_and_behind_the_colons(folder):
    for day in ("20240531", "20240601", "20240603"):
        zipped(f"{day}.zip", {f"R_{day}0000.nc": b"", f"R_{day}0005.nc": b"", "R_1999.nc": b""})
    span = {"since": JUNE_1, "until": JUNE_3}
    assert addresses("zip://R_{time:%Y%m%d}*.nc::{time:%Y%m%d}.zip", **span) == [
        "zip://R_202406010000.nc::20240601.zip",
        "zip://R_202406010005.nc::20240601.zip",
        "zip://R_202406030000.nc::20240603.zip",
        "zip://R_202406030005.nc::20240603.zip",
    ]
    assert len(addresses("zip://R_1999.nc::*.zip")) == 3


def test_archives_stand_in_archives(folder):
    for day in (1, 2):
        tarred(f"day{day}.tar.gz", {f"scan{day}.nc": bytes([day])}, "w:gz")
    with tarfile.open("month.tar", "w") as archive:
        archive.add("day1.tar.gz")
        archive.add("day2.tar.gz")
    files = find_files(["tar://*.nc::tar://*.tar.gz::month.tar"])
    assert [file.name for file in files] == ["scan1.nc", "scan2.nc"]
    assert [read(file) for file in files] == [b"\1", b"\2"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../../passwd"])
def test_a_name_in_an_archive_does_not_lead_out_of_the_folder(folder, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    zipped("bad.zip", {name: b"evil"})
    file = SourceFile(f"zip://{name.lstrip('/')}::bad.zip", "v", 4)
    with local_copy(file, {}) as path:
        assert path.name == "passwd"
        assert path.parent.parent == tmp_path / "temporary"
        assert path.read_bytes() == b"evil"
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a\\b\n.nc", "a_b_.nc"), ("..", "file"), ("雨" * 200 + ".nc", "雨" * 65 + ".nc")],
)
def test_the_name_of_a_copy_is_harmless(folder, name, kept):
    tarred("odd.tar", {name: b"x"})
    with local_copy(SourceFile(f"tar://{name}::odd.tar", "v", 1), {}) as path:
        assert path.name == kept


def damaged_zip(path: Path) -> None:
    zipped(path, {"x.nc": os.urandom(4000)})
    path.write_bytes(path.read_bytes()[:-30])


def damaged_tar(path: Path) -> None:
    tarred(path, {"x.nc": os.urandom(4000)}, "w:gz")
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("zip", damaged_zip),
        ("tar", damaged_tar),
        ("zip", lambda path: put(path, b"<html>")),
        ("tar", lambda path: put(path, b"<html>")),
        ("zip", lambda path: put(path, b"")),
        ("tar", lambda path: put(path, gzip.compress(b"no tar"))),
    ],
)
def test_a_broken_archive_is_listed_as_itself_and_hides_no_other(folder, kind, damage):
    damage(folder / "1.arc")
    (zipped if kind == "zip" else tarred)("2.arc", {"good.nc": b"good"})
    bad, good = find_files([f"{kind}://*.nc::*.arc"])
    assert (bad.address, bad.name) == (f"{kind}://::1.arc", "1.arc")
    assert bad.version == find_files(["1.arc"])[0].version
    with pytest.raises(DataError, match="the archive is broken") as raised:
        read(bad)
    assert not isinstance(raised.value, SourceUnavailable)
    assert read(good) == b"good"


def test_damage_inside_an_archive_is_told_when_the_file_is_copied(folder):
    zipped("x.zip", {"x.nc": bytes(range(256)) * 40})
    content = bytearray(Path("x.zip").read_bytes())
    content[60] ^= 255
    Path("x.zip").write_bytes(content)
    (file,) = find_files(["zip://*::x.zip"])
    with pytest.raises(DataError, match=r"zip://x\.nc::x\.zip: the archive is broken"):
        read(file)


def test_a_file_gone_from_its_archive_or_with_it_has_vanished(folder):
    zipped("x.zip", {"x.nc": b"x"})
    (file,) = find_files(["zip://*::x.zip"])
    zipped("x.zip", {"y.nc": b"x"})
    with pytest.raises(FileVanished):
        read(file)
    Path("x.zip").unlink()
    with pytest.raises(FileVanished):
        read(file)
    with pytest.raises(DataError, match=r"x\.zip: there is no such file"):
        find_files(["zip://*::x.zip"])


def test_a_file_replaced_by_one_of_another_length_is_not_taken(folder):
    zipped("x.zip", {"x.nc": b"12345"})
    (file,) = find_files(["zip://*::x.zip"])
    zipped("x.zip", {"x.nc": b"123"})
    with pytest.raises(SourceUnavailable, match="cut off: 3 bytes came, 5 were listed"):
        read(file)
    zipped("x.zip", {"x.nc": b"1234567"})
    with pytest.raises(SourceUnavailable, match="changed while it was read: 7 bytes came"):
        read(file)


def test_an_archive_is_opened_once_for_files_that_follow_each_other(folder, monkeypatch):
    for day in "12":
        tarred(f"{day}.tar", {f"{day}{scan}.nc": scan.encode() for scan in "abc"})
    files = find_files(["tar://*::*.tar"])
    opened = []
    tar_open = tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda **how: opened.append(1) or tar_open(**how))
    with OpenArchives({}) as archives:
        for file in files:
            with local_copy(file, {}, archives) as path:
                assert path.read_bytes().decode() == file.name[1]
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("zip://*.nc", "does not say where the archive is"),
        ("zip://*.nc::", "does not say where the archive is"),
        ("simplecache::s3://b/*.nc", "cannot be understood"),
        ("simplecache://::s3://b/*.nc", "cannot stand before '::'"),
        ("warp://b/*.nc", "unknown protocol 'warp'"),
    ],
)
def test_chains_and_protocols_that_are_not_known_are_refused(folder, pattern, message):
    with pytest.raises(ConfigError, match=message):
        find_files([pattern])


def test_no_room_for_a_copy_is_said(folder, monkeypatch):
    zipped("x.zip", {"x.nc": b"12345"})
    (file,) = find_files(["zip://*::x.zip"])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match="no room for a copy in the temporary folder") as raised:
        read(file)
    assert not isinstance(raised.value, SourceUnavailable)
    monkeypatch.setattr("tempfile.tempdir", str(folder / "none"))
    with pytest.raises(DataError, match="no temporary folder for a copy"):
        read(file)


def test_an_error_of_the_reader_is_not_taken_for_one_of_the_source(folder):
    zipped("x.zip", {"x.nc": b"12345"})
    (file,) = find_files(["zip://*::x.zip"])
    with pytest.raises(KeyError, match="reader"), local_copy(file, {}) as path:
        raise KeyError("reader")
    assert not path.parent.exists()


# Other file systems of fsspec


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    made = fsspec.filesystem("memory")
    yield made
    made.store.clear()
    made.pseudo_dirs[:] = [""]


def test_any_file_system_of_fsspec_is_walked(memory):
    for name in ("a/x.nc", "a/b/y.nc", "a/20240601.nc", "a/.z.nc"):
        memory.pipe(f"/radar/{name}", name.encode())
    files = find_files(["memory://radar/**/*.nc"])
    assert [file.address for file in files] == [
        "memory://radar/a/20240601.nc",
        "memory://radar/a/x.nc",
        "memory://radar/a/b/y.nc",
    ]
    assert [read(file) for file in files] == [b"a/20240601.nc", b"a/x.nc", b"a/b/y.nc"]
    assert addresses("memory://radar/a/x.nc") == ["memory://radar/a/x.nc"]
    days = "memory://radar/{time:a/%Y%m%d}.nc"
    for until in (JUNE_3, pd.Timestamp("2024-06-30")):
        assert addresses(days, since=JUNE_1, until=until) == ["memory://radar/a/20240601.nc"]
    with pytest.raises(SourceUnavailable, match="memory://none/: cannot be reached"):
        find_files(["memory://none/*.nc"])


def test_a_protocol_whose_package_is_missing_names_it(monkeypatch):
    def missing(protocol):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=r"gs:// needs a package.*pip install 'squall\[gcs\]'"):
        find_files(["gs://bucket/*.nc"])
    with pytest.raises(ConfigError, match=r"abfs:// needs a package.*Please install"):
        find_files(["abfs://bucket/*.nc"])


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hunter2@host/*.nc",
        "s3://AKIAhunter2@bucket/*.nc",
        "ftp://me:hunter2@host/x.nc",
        "zip://*.nc::https://hunter2@host/x.zip",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address):
    with pytest.raises(ConfigError, match="must not hold a user or password") as raised:
        find_files([address])
    assert "hunter2" not in str(raised.value)


# Web servers


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    HTTPFileSystem.clear_instance_cache()
    try:
        with mock.patch.dict(os.environ, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1"):
            yield f"http://127.0.0.1:{server.server_port}"
    finally:
        HTTPFileSystem.clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()


class QuietFiles(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        self.asked.append(f"{self.command} {self.path}")


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """Address of a server that shows the current folder with index pages."""
    QuietFiles.asked.clear()
    with serving(partial(QuietFiles, directory=str(folder))) as address:
        yield address


def test_index_pages_are_walked(web):
    for name in ("2024/06/01/x.nc", "2024/06/03/y y.nc", "2024/06/03/z.txt", "2024/07/x.nc"):
        put(name, name.encode())
    files = find_files([f"{web}/{{time:%Y/%m/%d}}/*.nc"], since=JUNE_1, until=JUNE_3)
    assert [file.address for file in files] == [
        f"{web}/2024/06/01/x.nc",
        f"{web}/2024/06/03/y%20y.nc",
    ]
    assert [file.name for file in files] == ["x.nc", "y y.nc"]
    assert [file.size for file in files] == [15, 17]
    assert read(files[1]) == b"2024/06/03/y y.nc"
    assert len(addresses(f"{web}/**/*.nc")) == 3
    assert addresses(f"{web}/2024/06/*/y y.nc") == [f"{web}/2024/06/03/y%20y.nc"]
    assert addresses(f"{web}/2024/06/*/*.h5") == []


def test_the_version_of_a_web_file_follows_its_time(web):
    put("x.nc")
    os.utime("x.nc", (1e9, 1e9))
    (before,) = find_files([f"{web}/x.nc"])
    assert before.size == 4
    assert "2001" in before.version
    os.utime("x.nc", (1.1e9, 1.1e9))
    assert find_files([f"{web}/x.nc"])[0].version != before.version


def test_listings_are_not_kept_from_one_call_to_the_next(web):
    put("in/x.nc")
    assert len(addresses(f"{web}/in/*.nc")) == 1
    put("in/y.nc")
    assert len(addresses(f"{web}/in/*.nc")) == 2


def test_dated_names_are_asked_for_without_an_index(web):
    put("in/202406010000.nc")
    pattern = f"{web}/in/{{time:%Y%m%d%H%M}}.nc"
    span = {"since": JUNE_1, "until": JUNE_1 + pd.Timedelta("3min")}
    assert addresses(pattern, **span) == [f"{web}/in/202406010000.nc"]
    assert not [line for line in QuietFiles.asked if line.endswith("/in/")]
    later = {"since": JUNE_3, "until": JUNE_3 + pd.Timedelta("3min")}
    assert addresses(f"{web}/none/{{time:%Y%m%d%H%M}}.nc", **later) == []


def test_a_web_folder_that_does_not_exist_is_an_outage_and_a_missing_day_is_not(web):
    put("in/x.nc")
    with pytest.raises(SourceUnavailable, match=r"/none/: cannot be reached.*check the name"):
        find_files([f"{web}/none/*.nc"])
    with pytest.raises(SourceUnavailable, match=r"/none/: cannot be reached"):
        find_files([f"{web}/none/{{time:%Y}}/*.nc"], since=JUNE_1, until=JUNE_3)
    assert addresses(f"{web}/in/{{time:%Y}}/*.nc", since=JUNE_1, until=JUNE_3) == []
    with pytest.raises(DataError, match=r"none\.nc: there is no such file"):
        find_files([f"{web}/none.nc"])


def test_files_in_an_archive_on_a_web_server(web):
    zipped("day.zip", {"x.nc": b"one", "y.nc": b"two"})
    files = find_files([f"zip://*.nc::{web}/*.zip"])
    assert [file.address for file in files] == [
        f"zip://x.nc::{web}/day.zip",
        f"zip://y.nc::{web}/day.zip",
    ]
    assert [read(file) for file in files] == [b"one", b"two"]


def test_a_web_file_that_went_has_vanished_and_leaves_no_copy(web, folder, tmp_path, monkeypatch):
    put("x.nc")
    (file,) = find_files([f"{web}/x.nc"])
    Path("x.nc").unlink()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(FileVanished, match=r"x\.nc: was listed and is not there any more"):
        read(file)
    assert [path.name for path in tmp_path.iterdir()] == ["radar"]


def answering(status: int, body: bytes = b"", length: int | None = None, delay: float = 0.0):
    """Handler class that gives one answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            time.sleep(delay)
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # who asked did not wait for the answer
                super().handle()

    return Answer


PATTERNS = ["x.nc", "in/*.nc", "in/{time:%Y/%m/%d}/*.nc", "in/{time:%Y%m%d}.nc"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("status", "message"),
    [(500, "500.*the server has a problem"), (503, "503"), (403, "403.*credentials")],
)
def test_an_error_of_a_web_server_is_an_outage(pattern, status, message):
    with serving(answering(status)) as address, pytest.raises(SourceUnavailable, match=message):
        find_files([f"{address}/{pattern}"], since=JUNE_1, until=JUNE_3)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_web_server_that_hangs_is_an_outage(pattern):
    began = time.perf_counter()
    with serving(answering(200, delay=2.0)) as address:
        with pytest.raises(SourceUnavailable, match=r"Timeout.*check the network"):
            find_files([f"{address}/{pattern}"], QUICK_HTTP, since=JUNE_1, until=JUNE_3)
        assert time.perf_counter() - began < 5


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_a_closed_port_is_an_outage(pattern, protocol):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        address = f"{endpoint}/{pattern}" if protocol == "http" else f"s3://radar/{pattern}"
        with s3_environment(endpoint), pytest.raises(SourceUnavailable, match="check the network"):
            find_files([address], {"s3": QUICK_S3}, since=JUNE_1, until=JUNE_3)


def test_a_download_that_is_cut_is_not_taken():
    with serving(answering(200, b"only this", length=1000)) as address:
        file = SourceFile(f"{address}/x.nc", "v", 1000)
        with pytest.raises(SourceUnavailable, match=r"x\.nc: cannot be reached"):
            read(file)
    with serving(answering(200, b"only this")) as address:
        with pytest.raises(SourceUnavailable, match="cut off: 9 bytes came, 1,000 were listed"):
            read(SourceFile(f"{address}/x.nc", "v", 1000))
        assert read(SourceFile(f"{address}/x.nc", "v", None)) == b"only this"


def test_a_download_that_hangs_ends():
    with serving(answering(200, b"x", delay=2.0)) as address:
        began = time.perf_counter()
        with pytest.raises(SourceUnavailable, match="Timeout"):
            read(SourceFile(f"{address}/x.nc", "v", 1), QUICK_HTTP)
        assert time.perf_counter() - began < 1.5


def test_the_query_of_an_address_is_not_repeated():
    with serving(answering(403)) as address:
        with pytest.raises(SourceUnavailable, match=r"x\.nc\?…") as raised:
            find_files([f"{address}/x.nc?signature=hunter2"])
        assert "hunter2" not in str(raised.value)


def test_a_query_belongs_to_an_address_and_not_to_the_name():
    with serving(answering(200, b"rain")) as address:
        (file,) = find_files([f"{address}/get/x%20y.nc?version=1"])
        assert (file.name, file.size, read(file)) == ("x y.nc", 4, b"rain")


# S3


def test_buckets_are_walked(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    for key in ("in/2024/06/01/x.nc", "in/2024/06/03/y.nc", "in/2024/06/03/y.txt", "in/.z.nc"):
        s3_server.put(bucket, key, key.encode())
    s3_server.put(bucket, "in/folder.nc/", b"")
    files = find_files(["s3://radar/in/{time:%Y/%m/%d}/*.nc"], since=JUNE_1, until=JUNE_3)
    assert [file.address for file in files] == [
        "s3://radar/in/2024/06/01/x.nc",
        "s3://radar/in/2024/06/03/y.nc",
    ]
    assert [(file.name, file.size) for file in files] == [("x.nc", 18), ("y.nc", 18)]
    with local_copy(files[0], {}) as path:
        assert path.name == "x.nc"
        assert path.read_bytes() == b"in/2024/06/01/x.nc"
    assert not path.parent.exists()
    assert len(addresses("s3://radar/**/*.nc", "s3://radar/in/2024/06/01/x.nc")) == 2
    assert addresses("s3://radar/in/*.nc") == []
    assert addresses("s3://radar/nothing/*.nc") == []
    assert addresses("s3://radar/in/2024/06/0?/?.txt") == ["s3://radar/in/2024/06/03/y.txt"]


def test_the_version_of_an_object_is_its_checksum(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    s3_server.put(bucket, "x.nc", b"one")
    (first,) = find_files(["s3://radar/*"])
    s3_server.put(bucket, "x.nc", b"two")
    (second,) = find_files(["s3://radar/x.nc"])
    assert first.version != second.version
    s3_server.put(bucket, "x.nc", b"one")
    assert find_files(["s3://radar/*"]) == [first]


def test_more_than_a_page_of_objects_is_listed(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    for scan in range(5):
        s3_server.put(bucket, f"in/{scan}.nc", b"x")
    options = {"s3_additional_kwargs": {"MaxKeys": 2}}
    assert len(addresses("s3://radar/in/*.nc", options=options)) == 5


def test_dated_names_in_one_folder_cost_few_requests(s3_server, monkeypatch):  # noqa: F811
    bucket = s3_server.bucket("radar")
    times = pd.date_range(JUNE_1, periods=26, freq="1h")
    for scan in times:
        s3_server.put(bucket, f"flat/R{scan:%Y%m%d%H%M}_v1.nc", b"x")
    asked = []
    call = S3FileSystem.call_s3

    def counted(self, method, **how):
        asked.append(how["Prefix"])
        return call(self, method, **how)

    monkeypatch.setattr(S3FileSystem, "call_s3", counted)
    span = {"since": JUNE_1, "until": JUNE_1 + pd.Timedelta("1D") - pd.Timedelta("1min")}
    found = addresses("s3://radar/flat/R{time:%Y%m%d%H%M}_*.nc", **span)
    assert found == [f"s3://radar/flat/R{scan:%Y%m%d%H%M}_v1.nc" for scan in times[:24]]
    assert len(asked) == 24
    asked.clear()
    assert addresses("s3://radar/flat/R{time:%Y%m%d}*.nc", **span) == found
    assert asked == ["flat/R20240601"]


def test_files_in_an_archive_in_a_bucket(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    content = io.BytesIO()
    zipped(content, {"x.nc": b"one", "sub/y.nc": b"two"})
    s3_server.put(bucket, "20240601.zip", content.getvalue())
    files = find_files(["zip://**::s3://radar/{time:%Y%m%d}.zip"], since=JUNE_1, until=JUNE_3)
    assert [file.name for file in files] == ["x.nc", "y.nc"]
    assert [read(file) for file in files] == [b"one", b"two"]


def test_a_bucket_that_is_missing_is_an_outage(s3_server):  # noqa: F811
    for pattern in PATTERNS:
        with pytest.raises(SourceUnavailable, match=r"s3://none/.*NoSuchBucket.*check the name"):
            find_files([f"s3://none/{pattern}"], since=JUNE_1, until=JUNE_3)
    with pytest.raises(ConfigError, match="does not name a bucket"):
        find_files(["s3://*/x.nc"])
    s3_server.bucket("radar")
    with pytest.raises(DataError, match=r"s3://radar/x\.nc: there is no such file"):
        find_files(["s3://radar/x.nc"])


def test_an_object_that_went_has_vanished(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    s3_server.put(bucket, "x.nc", b"x")
    (file,) = find_files(["s3://radar/*.nc"])
    s3_server.client.delete_object(Bucket=bucket, Key="x.nc")
    with pytest.raises(FileVanished, match=r"s3://radar/x\.nc"):
        read(file)
    with pytest.raises(SourceUnavailable, match="NoSuchBucket") as raised:
        read(SourceFile("s3://none/x.nc", "v", 1))
    assert not isinstance(raised.value, FileVanished)


def test_an_object_replaced_by_a_shorter_one_is_not_taken(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    s3_server.put(bucket, "x.nc", b"12345")
    (file,) = find_files(["s3://radar/*.nc"])
    s3_server.put(bucket, "x.nc", b"12")
    with pytest.raises(SourceUnavailable, match="cut off: 2 bytes came, 5 were listed"):
        read(file)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("status", "message"), [(500, "server has a problem"), (403, "credentials")]
)
def test_an_error_of_the_object_store_is_an_outage(pattern, status, message):
    with (
        serving(answering(status)) as endpoint,
        s3_environment(endpoint),
        pytest.raises(SourceUnavailable, match=message),
    ):
        find_files([f"s3://radar/{pattern}"], QUICK_S3, since=JUNE_1, until=JUNE_3)


def test_an_object_store_that_fails_hangs_or_cuts_files_is_an_outage():
    file = SourceFile("s3://radar/x.nc", "v", 1)
    for handler, message in (
        (answering(500), "problem"),
        (answering(200, delay=2.0), "network"),
        (answering(200, b"only this", length=1000), "network"),
    ):
        with (
            serving(handler) as endpoint,
            s3_environment(endpoint),
            pytest.raises(SourceUnavailable, match=message),
        ):
            read(file, {"s3": QUICK_S3})


def test_missing_credentials_are_an_outage_that_says_so(s3_server, monkeypatch, tmp_path):  # noqa: F811
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SourceUnavailable, match=r"NoCredentialsError.*AWS_ACCESS_KEY_ID"):
        find_files(["s3://radar/*.nc"])


def test_options_that_a_file_system_does_not_take_are_refused_without_secrets(s3_server):  # noqa: F811
    options = {"s3": {"max_concurrency": 0, "secret": "hunter2", "key": "me"}}
    with pytest.raises(ConfigError, match="does not take these options") as raised:
        find_files(["s3://radar/*.nc"], options)
    assert "hunter2" not in str(raised.value)


def test_secrets_in_options_do_not_reach_messages():
    options = {"s3": {"client_kwargs": {"aws_secret_access_key": "hunter2"}}, "token": "hunter3"}
    error = unavailable("s3://b", OSError("denied for hunter2 and hunter3"), options)
    assert "denied for *** and ***" in str(error)
