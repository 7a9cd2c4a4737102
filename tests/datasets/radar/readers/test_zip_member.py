"""Members of zip files, read forwards: the same bytes as Python's zipfile gives."""

import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from squall.datasets.errors import DataError
from squall.datasets.radar.readers.zip_member import ZipMember

RNG = np.random.default_rng(0)
# rain is mostly dry: long runs, which inflate to far more than a block of input, beside noise
CONTENT = b"".join(
    [bytes(3_000_000), RNG.integers(0, 256, 200_000, dtype=np.uint8).tobytes(), bytes(1_500_000)]
)


def write(path: Path, method: int, content: bytes = CONTENT) -> zipfile.ZipInfo:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("other.npy", b"other" * 99)
        file.writestr("data.npy", content)
        return file.getinfo("data.npy")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_all_bytes_in_parts_of_any_size(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.npz"
    info = write(path, method)
    sizes = iter([1, 7, 2**20, 100, 2_500_000, 2**20, 2**22, 1])
    with closing(ZipMember(str(path), info)) as member:
        parts = []
        while part := member.read(next(sizes)):
            parts.append(part)
        assert member.position == len(CONTENT)
        assert member.read(10) == b""
    assert b"".join(parts) == CONTENT


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_is_noticed(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.npz"
    info = write(path, method)
    whole = bytearray(path.read_bytes())
    whole[info.header_offset + info.compress_size // 2] ^= 255
    path.write_bytes(whole)
    with closing(ZipMember(str(path), info)) as member:
        assert len(member.read(len(CONTENT) - 1)) == len(CONTENT) - 1
        with pytest.raises(DataError, match=r"'data\.npy' is damaged: its checksum differs"):
            member.read(1)


def test_a_member_that_is_cut_off_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    info = write(path, zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes()[: info.header_offset + 2000])
    with closing(ZipMember(str(path), info)) as member:
        assert len(member.read(len(CONTENT))) < len(CONTENT)
        assert member.read(1) == b""


def test_other_methods_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    info = write(path, zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="packed with method 12, expected deflate"):
        ZipMember(str(path), info)
