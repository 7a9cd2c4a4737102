"""HDF5 files that are hostile or damaged, read as ODIM: rejected before anything is followed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.readers.odim import open_odim


def _external_image(file: h5py.File, folder: Path) -> None:
    (folder / "secret.bin").write_bytes(bytes(12 * 16))
    file["dataset1/data1"].create_dataset(
        "data", (12, 16), "u1", external=[(str(folder / "secret.bin"), 0, 12 * 16)]
    )


def _virtual_image(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["data"] = np.zeros((12, 16))
    layout = h5py.VirtualLayout((12, 16), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "data", (12, 16))
    file["dataset1/data1"].create_virtual_dataset("data", layout)


def _huge_image(file: h5py.File, folder: Path) -> None:
    file["dataset1/data1"].create_dataset("data", (10**6, 10**6), "u1", chunks=(100, 100))


def _huge_chunks(file: h5py.File, folder: Path) -> None:
    file["dataset1/data1"].create_dataset(
        "data", (12, 16), "u1", chunks=(2**15, 2**14), maxshape=(None, None)
    )


def _link(target: Any) -> Callable[[h5py.File, Path], None]:
    def put(file: h5py.File, folder: Path) -> None:
        file["dataset1/data1/data"] = target

    return put


def _group(file: h5py.File, folder: Path) -> None:
    file.create_group("dataset1/data1/data")


def _pipeline(file: h5py.File, folder: Path) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((12, 16))
    for _ in range(3):  # each unpacks to a thousand times its size
        properties.set_deflate(9)
    space = h5py.h5s.create_simple((12, 16))
    h5py.h5d.create(file["dataset1/data1"].id, b"data", h5py.h5t.NATIVE_UINT8, space, properties)


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (_external_image, "lies in other files"),
        (_virtual_image, "lies in other files"),
        (_huge_image, "says that it has 1000000 × 1000000 pixels"),
        (_huge_chunks, "says that it has 32768 × 16384 pixels"),
        (_link(h5py.ExternalLink("/etc/passwd", "/data")), "link to elsewhere"),
        (_link(h5py.SoftLink("/dataset1/data1/data")), "link to elsewhere"),
        (_pipeline, "HDF5 filters"),
        (_group, "has no image /dataset1/data1/data"),
        (lambda file, folder: None, "has no image /dataset1/data1/data"),
    ],
)
def test_hostile_images_are_rejected_before_they_are_read(
    write_odim, configured, pixels, tmp_path, replace, message
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels)
    with h5py.File(path, "a") as file:
        del file["dataset1/data1/data"]
        replace(file, tmp_path)
    with pytest.raises(DataError, match=message), open_odim(path, configured("odim")):
        pass


def test_links_to_groups_are_not_followed(write_odim, configured, pixels, tmp_path) -> None:
    other = write_odim(tmp_path / "other.h5", pixels)
    path = write_odim(tmp_path / "a.h5", pixels)
    with h5py.File(path, "a") as file:
        file["dataset2"] = h5py.ExternalLink(other, "/dataset1")
    with pytest.raises(DataError, match="/dataset2 is a link"), open_odim(path, configured("odim")):
        pass


def test_a_group_with_too_many_members_is_rejected(
    write_odim, configured, pixels, tmp_path
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels)
    with h5py.File(path, "a", libver="latest") as file:
        for i in range(10_001):
            file[f"dataset{i + 2}"] = h5py.SoftLink("/nowhere")
    with pytest.raises(DataError, match="members, at most 10000"), open_odim(
        path, configured("odim")
    ):  # fmt: skip
        pass


def test_a_huge_attribute_is_not_read(configured, tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_group("what").attrs["object"] = np.zeros(10_000)
    with (
        pytest.raises(DataError, match="/what/object says that it has 10000 values"),
        open_odim(str(tmp_path / "a.h5"), configured("odim")),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_not_hdf5_is_rejected(configured, tmp_path, content) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match="cannot be read as HDF5"),
        open_odim(str(path), configured("odim")),
    ):
        pass


def test_an_hdf5_file_that_is_not_odim_is_rejected(configured, tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["what"] = 1
    with (
        pytest.raises(DataError, match="no group /what; is it an ODIM file"),
        open_odim(str(tmp_path / "a.h5"), configured("odim")),
    ):
        pass


@pytest.fixture(scope="session")
def whole(write_odim, tmp_path_factory) -> bytes:
    numbers = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)
    return Path(write_odim(tmp_path_factory.mktemp("odim") / "a.h5", numbers)).read_bytes()


@given(data=st.data())
def test_any_damage_gives_a_product_or_an_exception(
    data, whole, damages, configured, survives
) -> None:
    survives(open_odim, configured("odim"), "a.h5", data.draw(damages)(whole))
