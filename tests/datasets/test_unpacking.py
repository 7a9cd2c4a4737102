"""Containers that unpack to far more than radar files need are refused before they are unpacked."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from squall.datasets import unpacking
from squall.datasets.errors import DataError
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files

MB = 2**20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(unpacking, "MAX_FILE_BYTES", 4 * MB)
    return tmp_path


def zipped(path: str, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        for name, content in members.items():
            container.writestr(name, content)


def tarred(path: str, members: dict[str, bytes], mode: str) -> None:
    with tarfile.open(path, mode) as container:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            container.addfile(member, io.BytesIO(content))


def refusals(pattern: str) -> list[str]:
    reasons = []
    for file in find_files([pattern]):
        with pytest.raises(DataError) as caught, local_copy(file):
            pass
        reasons.append(str(caught.value))
    assert list(Path("temporary").iterdir()) == []
    return reasons


def test_a_file_larger_than_any_radar_file_is_refused_and_the_others_are_read(folder):
    zipped("a.zip", {"bomb.nc": bytes(5 * MB), "good.nc": bytes(4 * MB)})
    bomb, good = find_files(["zip://*.nc::a.zip"])
    with local_copy(good) as path:
        assert path.stat().st_size == 4 * MB
    with pytest.raises(DataError, match=r"a\.zip: bomb\.nc would unpack to 5,242,880 bytes"):
        local_copy(bomb).__enter__()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_container_packed_more_tightly_than_radar_data_is_refused(folder, mode):
    tarred("a.tar", {f"{i}.nc": bytes(3 * MB) for i in range(12)}, mode)
    assert Path("a.tar").stat().st_size * unpacking.MAX_RATIO < 32 * MB or mode == "w:gz"
    if mode == "w:gz":  # deflate packs zeros 1032 times, as it does with dry scans
        assert len(find_files(["tar://*.nc::a.tar"])) == 12
    else:
        (reason,) = refusals("tar://*.nc::a.tar")
        assert "more than 1100 times as many; no radar data can be packed so tightly" in reason


def test_members_of_a_zip_file_that_share_their_bytes_are_refused(folder):
    """One packed stream under many names: a few MB may claim petabytes."""
    zipped("a.zip", {"0.nc": bytes(3 * MB)})
    with zipfile.ZipFile("a.zip", "a") as container:
        for i in range(1, 40):
            again = zipfile.ZipInfo(f"{i}.nc")
            first = container.infolist()[0]
            for key in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(again, key, getattr(first, key))
            container.filelist.append(again)
            container.NameToInfo[again.filename] = again
            container._didModify = True
    (reason,) = refusals("zip://*.nc::a.zip")
    assert "no radar data can be packed so tightly" in reason


def test_a_container_in_a_container_has_a_limit_of_its_own(folder, monkeypatch):
    tarred("day.tar", {"a.nc": bytes(3 * MB), "b.nc": bytes(3 * MB)}, "w")
    zipped("month.zip", {"day.tar": Path("day.tar").read_bytes()})
    pattern = "tar://*.nc::zip://day.tar::month.zip"
    assert len(find_files([pattern])) == 2
    monkeypatch.setattr(unpacking, "MAX_CONTAINER_BYTES", 5 * MB)
    (reason,) = refusals(pattern)
    assert "month.zip: day.tar would unpack to" in reason


def test_a_tar_header_of_any_length_is_not_read_into_memory(folder):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**33
    with gzip.open("a.tar", "wb") as stream:
        stream.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(MB))
    (reason,) = refusals("tar://*.nc::a.tar")
    assert "the tar file is broken: it has a header of 8,589,934,592 bytes" in reason


def test_too_many_members_are_refused(folder, monkeypatch):
    zipped("a.zip", {f"{i}.nc": b"" for i in range(5)})
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 4)
    (reason,) = refusals("zip://*.nc::a.zip")
    assert "has more than 4 files" in reason
