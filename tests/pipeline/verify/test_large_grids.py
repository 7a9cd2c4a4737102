"""A verification whose fields lie in files, as those of a large grid do."""

import time

import numpy as np
import pytest
import xarray as xr

from squall.pipeline.forecast import lead_fields
from squall.pipeline.forecast.field_file import FieldFile
from squall.pipeline.forecast.methods import Persistence
from squall.pipeline.verify.run import verify
from squall.pipeline.verify.scoring import Forecasts
from tests.pipeline.verify.verify_examples import config


def test_fields_in_files_give_the_same_scores(chain, tmp_path, monkeypatch):
    models = (chain.model, "extrapolation")
    of_arrays = verify(config(chain, tmp_path / "arrays", models=models, every_minutes=30))
    written = []
    append = FieldFile.append

    def watched(self, fields):
        written.append(fields.shape)
        append(self, fields)

    monkeypatch.setattr(FieldFile, "append", watched)
    monkeypatch.setattr(lead_fields, "IN_MEMORY_BYTES", 0)
    of_files = verify(config(chain, tmp_path / "files", models=models, every_minutes=30, cases=1))
    for ours, theirs in zip(of_files.blocks, of_arrays.blocks, strict=True):
        xr.testing.assert_identical(ours.data, theirs.data)
    # observed, three methods and the reachable pixels, of each case, and once more to draw one
    assert len(written) >= 5 * 4 * of_files.cases
    assert "a rainy case" in of_files.report.read_text()


def test_reading_the_scans_is_neither_the_time_nor_the_fault_of_a_method():
    """Each method reads its own scans, since a large grid's would need much memory."""

    def slowly(count):
        time.sleep(0.3)
        return np.zeros((count, 4, 4), np.float32)

    def damaged(count):
        raise OSError("a chunk is damaged")

    made = Forecasts(np.zeros((2, 4, 4), np.float32))
    made.add("persistence", Persistence(2), slowly, ())
    assert made.rain["persistence"].shape == (2, 4, 4)
    assert made.seconds["persistence"] < 0.3
    with pytest.raises(OSError, match="a chunk is damaged"):
        made.add("persistence", Persistence(2), damaged, ())
