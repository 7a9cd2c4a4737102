"""Blocks are kept, resumed and never mixed; sums do not depend on the number of processes."""

import logging
import os
import signal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import LocalCluster

from squall.datasets.archive.archive import Archive
from squall.datasets.errors import DataError
from squall.pipeline.verify import output as verify_output
from squall.pipeline.verify.blocks import Block, BlockStore
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.plan import Failure, MethodError, Target, reference_text
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
    monkeypatch.setattr(verify_output, "score_figures", lambda scores: {})
    monkeypatch.setattr(verify_output, "html_report", lambda *_, **__: "")


def numbers(scores):
    return scores.drop_vars("seconds")


@pytest.fixture
def scored(monkeypatch):
    """Indices of the reference times that this process scores."""
    indices = []
    original = Scorer.__call__

    def counted(self, case):
        indices.append(case.index)
        return original(self, case)

    monkeypatch.setattr(Scorer, "__call__", counted)
    return indices


def test_processes_give_the_same_to_the_last_bit(chain, tmp_path):
    in_this_process = verify(config(chain, tmp_path / "a"))
    in_workers = verify(config(chain, tmp_path / "b", workers=2))
    xr.testing.assert_identical(
        numbers(in_this_process.scores).drop_attrs(), numbers(in_workers.scores).drop_attrs()
    )


def test_a_stopped_run_resumes(chain, tmp_path, monkeypatch, scored):
    whole = verify(config(chain, tmp_path / "whole"))
    all_indices = list(scored)
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
    assert scored == all_indices[:5]
    scored.clear()
    resumed = verify(config(chain, tmp_path / "cut"))
    assert scored == all_indices[3:]  # a block has three cases: one block was finished
    xr.testing.assert_equal(numbers(resumed.scores), numbers(whole.scores))
    scored.clear()
    verify(config(chain, tmp_path / "cut", workers=1, cases=1))  # neither option changes a score
    assert scored == []


def test_drawn_cases_are_forecast_once(chain, tmp_path, monkeypatch):
    forecast, pages = [], []
    original = Scorer.forecasts

    def counted(self, case):
        forecast.append(case.index)
        return original(self, case)

    def page(title, sections, **_):
        pages.append(sections[0].cases)
        return ""

    monkeypatch.setattr(Scorer, "forecasts", counted)
    monkeypatch.setattr(verify_output, "html_report", page)
    result = verify(config(chain, tmp_path / "once", cases=2))
    assert len(forecast) == result.cases
    in_workers = verify(config(chain, tmp_path / "workers", cases=2, workers=2))
    assert len(forecast) == result.cases == in_workers.cases
    verify(config(chain, tmp_path / "once", cases=2))  # of an earlier run there are sums alone
    assert len(forecast) == result.cases + 2
    for other in pages[1:]:
        for case, expected in zip(other, pages[0], strict=True):
            assert case.reference_time == expected.reference_time
            np.testing.assert_array_equal(case.observed, expected.observed)
            assert set(case.forecasts) == {"extrapolation", "persistence"}
            for name, rain in case.forecasts.items():
                np.testing.assert_array_equal(rain, expected.forecasts[name])


def test_another_configuration_starts_from_the_beginning(chain, tmp_path, scored, caplog):
    caplog.set_level(logging.INFO, logger="squall")
    first = verify(config(chain, tmp_path))
    number = len(scored)
    assert "starting from the beginning" not in caplog.text
    other = verify(config(chain, tmp_path, thresholds_mm_h=(0.3,)))
    assert "another configuration, archive, model or version only; starting" in caplog.text
    assert len(scored) == 2 * number
    assert other.scores.threshold.values.tolist() == [0.3]
    again = verify(config(chain, tmp_path))  # the first configuration's blocks are still stored
    assert len(scored) == 2 * number
    xr.testing.assert_equal(again.scores, first.scores)  # the seconds are stored, too
    verify(config(chain, tmp_path, fresh=True))
    assert len(scored) == 3 * number


def test_the_blocks_of_few_configurations_are_kept(tmp_path):
    """The configurations that were used longest ago go; other folders stay."""
    (tmp_path / "blocks" / "notes").mkdir(parents=True)
    stores = [BlockStore(tmp_path, f"{number:064x}"[::-1]) for number in range(1, 9)]
    target = Target("a", "s", "radar", 2, (1.0,))
    for seconds, store in enumerate(stores, start=1000):
        store.save(target, "20240601T0000", Block(cases=seconds))
        store.remove_oldest()
        os.utime(store.folder, (seconds, seconds))
    names = {path.name for path in (tmp_path / "blocks").iterdir()}
    assert names == {"notes", *(store.folder.name for store in stores[-5:])}
    assert stores[3].remove_oldest() == 0  # used again
    os.utime(stores[3].folder, (2000, 2000))
    assert stores[0].remove_oldest() == 1
    assert stores[3].load(target, "20240601T0000").cases == 1003
    assert stores[4].load(target, "20240601T0000") is None


def test_blocks_of_failed_cases_are_stored(chain, tmp_path, monkeypatch):
    def fails(self, case):
        raise MethodError("extrapolation", "no\n rain")

    monkeypatch.setattr(Scorer, "forecasts", fails)
    for _ in range(2):
        with pytest.raises(DataError, match="all 12 forecasts failed"):
            verify(config(chain, tmp_path))
        monkeypatch.undo()  # the second run makes no forecast


class Dying(Scorer):
    """A worker that scores one of the cases is killed."""

    def __call__(self, case):
        if case.index == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(case)


def test_a_worker_that_dies_costs_its_own_block_alone(chain, tmp_path, scored, monkeypatch):
    """The case fails, its block is not kept, and the next run scores it."""
    with monkeypatch.context() as patched:
        patched.setattr("squall.pipeline.verify.workers.Scorer", Dying)
        first = verify(config(chain, tmp_path, workers=2))
    assert [(f.reference_time, f.method) for f in first.failures] == [
        ("2024-06-01 03:20", "a method")
    ]
    assert "process" in first.failures[0].reason
    assert (first.cases, scored) == (11, [])
    again = verify(config(chain, tmp_path))
    assert scored == [36, 38, 40]
    assert (again.cases, again.failures) == (12, ())


def test_a_cluster_gives_the_same_to_the_last_bit(chain, tmp_path):
    in_this_process = verify(config(chain, tmp_path / "a"))
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        on_cluster = verify(config(chain, tmp_path / "b", scheduler=address))
    xr.testing.assert_identical(
        numbers(in_this_process.scores).drop_attrs(), numbers(on_cluster.scores).drop_attrs()
    )


def test_the_sums_are_those_of_the_cases_in_any_blocks(chain, tmp_path):
    long, short = (
        verify(config(chain, tmp_path / str(block), block_minutes=block)) for block in (1440, 10)
    )
    assert long.cases == short.cases == 12
    xr.testing.assert_allclose(long.scores[["csi", "fss"]], short.scores[["csi", "fss"]])
    assert np.isnan(long.scores.mae_low).all()  # one block has no interval
    assert (short.scores.mae_low <= short.scores.mae).all()


def test_each_method_gets_the_number_of_scans_it_needs(chain, tmp_path, monkeypatch):
    context, later = [], []
    read, scans = Archive.read, Archive.scans

    def watched(self, first, count):
        context.append(count)
        return read(self, first, count)

    def watched_scans(self, first, count):
        later.append(count)
        return scans(self, first, count)

    monkeypatch.setattr(Archive, "read", watched)
    monkeypatch.setattr(Archive, "scans", watched_scans)
    verify(config(chain, tmp_path, models=("persistence",), pixels="observed"))
    assert set(context) == {1}
    assert set(later) == {2}


def test_two_cases_of_a_minute_are_told_apart():
    times = pd.date_range("2024-06-01T12:00", periods=4, freq="30s")
    cases = SimpleNamespace(indices=[0, 1, 2], missing_scans=[1, 2, 0])
    failed = Block(failures=[Failure(reference_text(times[0]), "a", "no space")])
    archive = SimpleNamespace(times=times)
    assert verify_output.missing_scans(archive, cases, Block()) == {
        "2024-06-01 12:00": 1,
        "2024-06-01 12:00:30": 2,
    }
    assert verify_output.missing_scans(archive, cases, failed) == {"2024-06-01 12:00:30": 2}
