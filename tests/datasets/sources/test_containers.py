"""Files inside zip and tar containers."""

import errno
import gzip
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.sources.access import FileVanished, SourceFile, SourceUnavailable
from squall.datasets.sources.containers import OpenContainers
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files
from tests.datasets.sources.temporary_storage import (
    JUNE_1,
    JUNE_3,
    addresses,
    put,
    read,
    tarred,
    zipped,
)
from tests.s3_server import moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)


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
    with tarfile.open("x.tar", "w") as container:
        for name, kind in (("link.nc", tarfile.SYMTYPE), ("dev.nc", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            container.addfile(member)
    assert addresses("tar://**::x.tar") == []


def test_the_version_of_a_member_follows_its_content(folder):
    zipped("day.zip", {"x.nc": b"one", "y.nc": b"two"})
    before = find_files(["zip://*.nc::day.zip"])
    zipped("day.zip", {"x.nc": b"eno", "y.nc": b"two"})
    after = find_files(["zip://*.nc::day.zip"])
    assert before[0].version != after[0].version
    assert before[1].version == after[1].version


def test_time_parts_and_globs_work_on_both_sides_of_the_colons(folder):
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


def test_a_container_may_hold_containers(folder):
    for day in (1, 2):
        tarred(f"day{day}.tar.gz", {f"scan{day}.nc": bytes([day])}, "w:gz")
    with tarfile.open("month.tar", "w") as container:
        container.add("day1.tar.gz")
        container.add("day2.tar.gz")
    files = find_files(["tar://*.nc::tar://*.tar.gz::month.tar"])
    assert [file.name for file in files] == ["scan1.nc", "scan2.nc"]
    assert [read(file) for file in files] == [b"\1", b"\2"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../../passwd"])
def test_a_member_name_does_not_lead_out_of_the_temporary_folder(
    folder, name, tmp_path, monkeypatch
):
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
    ("name", "name_of_copy"),
    [("a\\b\n.nc", "a_b_.nc"), ("..", "file"), ("雨" * 200 + ".nc", "雨" * 65 + ".nc")],
)
def test_the_name_of_a_copy_is_harmless(folder, name, name_of_copy):
    tarred("odd.tar", {name: b"x"})
    with local_copy(SourceFile(f"tar://{name}::odd.tar", "v", 1), {}) as path:
        assert path.name == name_of_copy


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
def test_a_broken_container_is_listed_itself_and_hides_no_other(folder, kind, damage):
    damage(folder / "1.arc")
    (zipped if kind == "zip" else tarred)("2.arc", {"good.nc": b"good"})
    bad, good = find_files([f"{kind}://*.nc::*.arc"])
    assert (bad.address, bad.name) == (f"{kind}://::1.arc", "1.arc")
    assert bad.version == find_files(["1.arc"])[0].version
    with pytest.raises(DataError, match=rf"the {kind} file is broken") as raised:
        read(bad)
    assert not isinstance(raised.value, SourceUnavailable)
    assert read(good) == b"good"


def test_damage_inside_a_container_is_reported_when_a_file_is_copied(folder):
    zipped("x.zip", {"x.nc": bytes(range(256)) * 40})
    content = bytearray(Path("x.zip").read_bytes())
    content[60] ^= 255
    Path("x.zip").write_bytes(content)
    (file,) = find_files(["zip://*::x.zip"])
    with pytest.raises(DataError, match=r"zip://x\.nc::/.*/x\.zip: the zip file is broken"):
        read(file)


def test_a_file_has_vanished_if_its_member_or_container_was_deleted(folder):
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


def test_a_member_replaced_by_one_of_another_length_is_refused(folder):
    zipped("x.zip", {"x.nc": b"12345"})
    (file,) = find_files(["zip://*::x.zip"])
    zipped("x.zip", {"x.nc": b"123"})
    with pytest.raises(SourceUnavailable, match="cut off: 3 bytes were received, 5 were listed"):
        read(file)
    zipped("x.zip", {"x.nc": b"1234567"})
    with pytest.raises(SourceUnavailable, match="changed while it was read: 7 bytes were received"):
        read(file)


def test_a_container_is_opened_once_for_consecutive_files(folder, monkeypatch):
    for day in "12":
        tarred(f"{day}.tar", {f"{day}{scan}.nc": scan.encode() for scan in "abc"})
    files = find_files(["tar://*::*.tar"])
    opened = []
    tar_open = tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda **options: opened.append(1) or tar_open(**options))
    with OpenContainers({}) as containers:
        for file in files:
            with local_copy(file, {}, containers) as path:
                assert path.read_bytes().decode() == file.name[1]
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("zip://*.nc", "does not say where the zip file is"),
        ("zip://*.nc::", "does not say where the zip file is"),
        ("simplecache::s3://b/*.nc", "cannot be understood"),
        ("simplecache://::s3://b/*.nc", "cannot stand before '::'"),
        ("warp://b/*.nc", "unknown protocol 'warp'"),
    ],
)
def test_unknown_chains_and_protocols_are_refused(folder, pattern, message):
    with pytest.raises(ConfigError, match=message):
        find_files([pattern])


def test_a_full_or_missing_temporary_folder_is_reported(folder, monkeypatch):
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


def test_an_error_of_the_caller_is_not_mistaken_for_one_of_the_source(folder):
    zipped("x.zip", {"x.nc": b"12345"})
    (file,) = find_files(["zip://*::x.zip"])
    with pytest.raises(KeyError, match="reader"), local_copy(file, {}) as path:
        raise KeyError("reader")
    assert not path.parent.exists()
