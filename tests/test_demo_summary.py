"""The last lines of the demo, and its exit status."""

import numpy as np
import pytest
import xarray as xr

from tests.load_script import load_script

SUMMARY = load_script("demo_summary")


@pytest.mark.parametrize(("demo", "status"), [(0.5, 0), (0.1, 1)])
def test_the_demo_fails_if_its_model_is_not_better_than_persistence(tmp_path, capsys, demo, status):
    csi = {"demo": demo, "squall-base": 0.4, "extrapolation": 0.3, "persistence": 0.2}
    dims = ("method", "threshold", "lead_time")
    values = np.array(list(csi.values()))[:, None, None] * np.ones((1, 3, 2))
    (tmp_path / "scores").mkdir()
    xr.Dataset(
        {"csi": (dims, values), "mae": (("method", "lead_time"), values[:, 0])},
        coords={"method": list(csi), "threshold": [0.5, 2.0, 5.0], "lead_time": [5, 10]},
        attrs={"cases": 11},
    ).to_netcdf(tmp_path / "scores" / "scores.nc")
    assert SUMMARY.main(tmp_path) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("11 forecasts")
    assert lines[2].split()[:3] == ["demo", f"{demo:.3f}", f"{demo:.3f}"]
    assert lines[-1].startswith("page    is missing")
