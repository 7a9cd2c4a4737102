"""NetCDF-4 files that name other files of this machine are refused, before they are followed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.datasets.radar.radar_files import RATE, Write, assert_rate, rejection_of, scan_of

Spoil = Callable[[h5py.File, Path], Any]


def _replace(file: h5py.File, name: str) -> dict[str, Any]:
    """Remove a variable and return its attributes."""
    attributes = {key: value for key, value in file[name].attrs.items() if "LIST" not in key}
    del file[name]
    return attributes


def _external_storage(file: h5py.File, secret: Path) -> None:
    attributes = _replace(file, "rain")
    rain = file.create_dataset(
        "rain", (1, 2, 3), "u1", external=[(str(secret.with_suffix(".bin")), 0, 6)]
    )
    rain.attrs.update({k: v for k, v in attributes.items() if k in ("units", "grid_mapping")})


def _virtual(file: h5py.File, secret: Path) -> None:
    _replace(file, "rain")
    layout = h5py.VirtualLayout((1, 2, 3), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "rain", (1, 2, 3))
    file.create_virtual_dataset("rain", layout)


def _linked(link: Any) -> Spoil:
    def spoil(file: h5py.File, secret: Path) -> None:
        _replace(file, "rain")
        file["rain"] = h5py.ExternalLink(str(secret), "rain") if link is None else link

    return spoil


def _external_coordinate(file: h5py.File, secret: Path) -> None:
    file.create_dataset("z", (6,), "u1", external=[(str(secret.with_suffix(".bin")), 0, 6)])


def _link_in_a_group(file: h5py.File, secret: Path) -> None:
    file.create_group("a/b")["c"] = h5py.ExternalLink(str(secret), "/")


def _circle(file: h5py.File, secret: Path) -> None:
    file.create_group("aside")
    file["aside/again"] = file["aside"]


def _deep(file: h5py.File, secret: Path) -> None:
    file.create_group("/".join(["a"] * 40))


def _packed_twice(file: h5py.File, secret: Path) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, 10, 10))
    for _ in range(2):
        properties.set_deflate(9)
    space = h5py.h5s.create_simple((1, 10, 10))
    h5py.h5d.create(file.id, b"other", h5py.h5t.NATIVE_FLOAT, space, properties)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_external_storage, "variable /rain lies in other files"),
        (_virtual, "variable /rain lies in other files"),
        (_linked(None), "/rain is a link to elsewhere"),
        (_linked(h5py.SoftLink("/other")), "/rain is a link to elsewhere"),
        (_external_coordinate, "variable /z lies in other files"),
        (_link_in_a_group, "/a/b/c is a link to elsewhere"),
        (_circle, "has two names"),
        (_deep, "lies in 33 groups"),
        (_packed_twice, "packed twice with the same filter"),
    ],
)
def test_a_file_that_names_other_files_is_refused(
    tmp_path: Path, write_radar: Write, spoil: Spoil, message: str
) -> None:
    secret = Path(write_radar(tmp_path / "secret.nc", RATE))
    secret.with_suffix(".bin").write_bytes(b"secret")
    path = write_radar(tmp_path / "a.nc", RATE)
    with h5py.File(path, "a") as file:
        spoil(file, secret)
    assert message in rejection_of(path)


def test_other_groups_and_variables_do_not_matter(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)
    with h5py.File(path, "a") as file:
        file.create_group("aside/more")["numbers"] = np.arange(3)
    assert_rate(scan_of(path), RATE)
