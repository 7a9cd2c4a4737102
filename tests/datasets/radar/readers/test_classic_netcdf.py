"""The size that a classic netCDF file must have by its header."""

from pathlib import Path

import numpy as np
import pytest

from squall.datasets.radar.readers.classic_netcdf import expected_size
from tests.datasets.radar.radar_files import (
    CLASSIC,
    NOON,
    RATE,
    Write,
)


@pytest.mark.parametrize("format", CLASSIC)
@pytest.mark.parametrize("dims", [("time", "y", "x"), ("y", "x")])
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "float64"])
def test_the_expected_size_of_a_classic_file(
    tmp_path: Path, write_radar: Write, format: str, dims: tuple[str, ...], dtype: str
) -> None:
    # 5 × 7 bytes are not a multiple of 4; time is a record variable beside the rain, or is absent
    numbers = np.zeros((3, 5, 7)[3 - len(dims) :], dtype=dtype)
    times = [NOON.isoformat()] * (3 if "time" in dims else 1)
    for unlimited in (False, True):
        for time_name in ("time", None):
            path = write_radar(
                tmp_path / f"{unlimited}{time_name}.nc",
                numbers,
                dims=dims,
                times=times,
                time_name=time_name,
                format=format,
                unlimited=unlimited,
            )
            expected = expected_size(path)
            assert expected is not None
            assert 0 <= Path(path).stat().st_size - expected < 8  # the padding of the last value


def test_the_size_of_a_file_that_is_not_classic(tmp_path: Path, write_radar: Write) -> None:
    assert expected_size(write_radar(tmp_path / "a.nc", RATE)) is None
