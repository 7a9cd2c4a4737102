import numpy as np
import pytest
import xarray as xr

from datasets.archive import Archive
from datasets.errors import ConfigError, DataError
from pipeline.forecast import Model
from pipeline.verify import VerifyConfig, verify


def config(chain, out, **changes):
    values = {"archive": chain.archive, "model": chain.model, "out": out, "every_minutes": 10}
    return VerifyConfig(**values | changes)


@pytest.fixture(scope="module")
def result(chain, tmp_path_factory):
    return verify(config(chain, tmp_path_factory.mktemp("scores"), thresholds_mm_h=(0.5, 2.0)))


def test_files_are_written_and_agree(result):
    with xr.open_dataset(result.netcdf) as scores:
        assert {"csi", "pod", "far", "frequency_bias", "fss", "mae", "rmse"} <= set(scores)
        csi = float(scores.csi.sel({"method": "tiny", "threshold": 0.5}).isel(lead_time=0))
    line = next(x for x in result.csv.read_text().splitlines() if x.startswith("tiny,5,0.5,,csi"))
    assert float(line.split(",")[-1]) == pytest.approx(csi)
    assert result.plot.stat().st_size > 10_000
    assert "persistence" in result.table


def test_persistence_is_scored_as_by_hand(result, chain):
    """Contingency table of all cases counted here, pixel by pixel known to all methods."""
    archive = Archive.open(chain.archive)
    hits = events = 0
    for index in range(archive.times.size):
        window = archive.read(index - 2, 7).values
        time = f"{archive.times[index]:%H:%M}"
        if not "04:10" <= time <= "04:50" or int(time[-2:]) % 10:
            continue
        last, observed = window[2], window[3]
        known = ~np.isnan(last) & ~np.isnan(observed)
        hits += ((last >= 0.5) & (observed >= 0.5) & known).sum()
        events += (((last >= 0.5) | (observed >= 0.5)) & known).sum()
    found = result.scores.csi.sel({"method": "persistence", "threshold": 0.5}).isel(lead_time=0)
    assert float(found) == pytest.approx(hits / events)


def test_windows_that_touch_training_are_left_out(result, chain, tmp_path):
    # trained until 03:00, validated until 04:00; the context takes three scans
    assert result.scores.attrs["first_reference_time"] == "2024-06-01 04:10:00"
    assert result.left_out > 0
    everything = verify(config(chain, tmp_path, include_training=True))
    assert everything.left_out == 0
    assert everything.cases > result.cases
    with pytest.raises(DataError, match="the model was trained or chosen on"):
        verify(config(chain, tmp_path, end="2024-06-01T01:00"))


def test_every_and_period_choose_the_cases(chain, tmp_path):
    made = verify(
        config(chain, tmp_path, start="2024-06-01T04:15", end="2024-06-01T04:45", every_minutes=15)
    )
    assert made.cases == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every_minutes": 7}, "no multiple of the archive's step"),
        ({"start": "2024-06-01T04:00", "end": "2024-06-01T03:00"}, "is after --end"),
        ({"start": "tomorrowish"}, "is no time"),
        ({"start": "2024-06-01T04:02"}, "not on the archive's step: there is one scan every 5 min"),
    ],
)
def test_wrong_periods_are_refused(chain, tmp_path, changes, message):
    with pytest.raises((ConfigError, DataError), match=message):
        verify(config(chain, tmp_path, **changes))


def test_all_dry_is_scored_without_events(chain, tmp_path, monkeypatch):
    def dry(self, first, count):
        times = np.datetime64("2024-06-01T04:00") + np.arange(count) * np.timedelta64(5, "m")
        return xr.DataArray(
            np.zeros((count, 64, 64), dtype=np.float32),
            dims=("time", "y", "x"),
            coords={"time": times},
        )

    monkeypatch.setattr(Archive, "read", dry)
    monkeypatch.setattr(Model, "nowcast", lambda self, context, n: np.zeros((n, 64, 64), "f4"))
    made = verify(config(chain, tmp_path))
    assert np.isnan(made.scores.csi).all()
    assert float(made.scores.mae.max()) == 0
