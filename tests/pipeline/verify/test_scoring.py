"""Blocks: kept, gone on with, never mixed; and the same sums from any number of processes."""

import logging

import numpy as np
import pytest
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.datasets.errors import DataError
from squall.pipeline.verify import output as verify_output
from squall.pipeline.verify import scoring as verify_run
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.run import verify
from squall.pipeline.verify.scoring import Scorer


def config(chain, out, **changes):
    values = {
        "archives": (chain.archive,),
        "models": ("extrapolation",),
        "out": out,
        "every_minutes": 10,
        "lead_times": 2,
        "block_minutes": 30,
        "workers": 1,
        "cases": 0,
        "start": "2024-06-01T03:00",
    }
    return VerifyConfig(**values | changes)


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    monkeypatch.setattr(verify_output, "plots", lambda scores: {})
    monkeypatch.setattr(verify_output, "html_report", lambda *_, **__: "")


def numbers(scores):
    return scores.drop_vars("seconds")


@pytest.fixture
def scored(monkeypatch):
    """Reference times that were scored, in this process."""
    times = []
    original = Scorer.__call__

    def counted(self, case):
        times.append(case.index)
        return original(self, case)

    monkeypatch.setattr(Scorer, "__call__", counted)
    return times


def test_processes_give_the_same_to_the_last_bit(chain, tmp_path):
    here = verify(config(chain, tmp_path / "a"))
    there = verify(config(chain, tmp_path / "b", workers=2))
    xr.testing.assert_identical(
        numbers(here.scores).drop_attrs(), numbers(there.scores).drop_attrs()
    )


def test_a_run_that_was_stopped_goes_on(chain, tmp_path, monkeypatch, scored):
    whole = verify(config(chain, tmp_path / "whole"))
    all_of_them = list(scored)
    scored.clear()
    counted = Scorer.__call__

    def stops(self, case):
        if len(scored) == 5:
            raise KeyboardInterrupt
        return counted(self, case)

    with monkeypatch.context() as patched:
        patched.setattr(Scorer, "__call__", stops)
        with pytest.raises(KeyboardInterrupt):
            verify(config(chain, tmp_path / "cut"))
    assert scored == all_of_them[:5]
    scored.clear()
    resumed = verify(config(chain, tmp_path / "cut"))
    assert scored == all_of_them[3:]  # blocks of three cases: one was finished
    xr.testing.assert_equal(numbers(resumed.scores), numbers(whole.scores))
    scored.clear()
    verify(config(chain, tmp_path / "cut", workers=1, cases=1))  # neither changes a number
    assert scored == []


def test_another_configuration_starts_anew_and_says_so(chain, tmp_path, scored, caplog):
    caplog.set_level(logging.INFO, logger="squall")
    first = verify(config(chain, tmp_path))
    number = len(scored)
    assert "starting anew" not in caplog.text
    other = verify(config(chain, tmp_path, thresholds_mm_h=(0.3,)))
    assert "another configuration, archive, model or version; starting anew" in caplog.text
    assert len(scored) == 2 * number
    assert other.scores.threshold.values.tolist() == [0.3]
    again = verify(config(chain, tmp_path))  # the first one's blocks are still there
    assert len(scored) == 2 * number
    xr.testing.assert_equal(again.scores, first.scores)  # the seconds, too
    verify(config(chain, tmp_path, fresh=True))
    assert len(scored) == 3 * number


def test_blocks_of_failed_cases_are_kept_too(chain, tmp_path, monkeypatch):
    def fails(self, case):
        raise verify_run.MethodError("extrapolation", "no\n rain")

    monkeypatch.setattr(Scorer, "forecasts", fails)
    for _ in range(2):
        with pytest.raises(DataError, match="all 12 forecasts failed"):
            verify(config(chain, tmp_path))
        monkeypatch.undo()  # the second time nothing is forecast


def test_a_worker_that_dies_is_explained(chain, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise verify_run.BrokenProcessPool("a child process terminated abruptly")
        yield

    monkeypatch.setattr(verify_run, "_in_order", killed)
    with pytest.raises(DataError, match=r"lack of memory.*run it again with less than --workers 2"):
        verify(config(chain, tmp_path, workers=2))


def test_few_cases_are_under_way_at_any_time():
    class Pool:
        submitted = 0

        def submit(self, function, case):
            self.submitted += 1
            future = verify_run.Future()
            future.set_result(case)
            return future

    pool = Pool()
    results = verify_run._in_order(pool, range(100), at_most=4)
    assert next(results) == 0
    assert pool.submitted == 4
    assert list(results) == list(range(1, 100))


def test_the_sums_are_those_of_the_cases_in_any_blocks(chain, tmp_path):
    long, short = (
        verify(config(chain, tmp_path / str(block), block_minutes=block)) for block in (1440, 10)
    )
    assert long.cases == short.cases == 12
    xr.testing.assert_allclose(long.scores[["csi", "fss"]], short.scores[["csi", "fss"]])
    assert np.isnan(long.scores.mae_low).all()  # of one block there is no interval
    assert (short.scores.mae_low <= short.scores.mae).all()


def test_each_method_gets_its_own_number_of_scans(chain, tmp_path, monkeypatch):
    shapes = []
    read = Archive.read

    def watched(self, first, count):
        shapes.append(count)
        return read(self, first, count)

    monkeypatch.setattr(Archive, "read", watched)
    verify(config(chain, tmp_path, models=("persistence",), pixels="observed"))
    assert set(shapes) == {4, 2}
