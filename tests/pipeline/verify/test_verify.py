"""The verify stage on a small archive: its scores, its choice of cases, and its files."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.forecast import pysteps_methods
from squall.pipeline.forecast.methods import Extrapolation, find_method
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.pysteps_methods import PystepsMethod
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.run import ingest
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.verify import output as verify_output
from squall.pipeline.verify import plan as verify_plan
from squall.pipeline.verify import scoring as verify_scoring
from squall.pipeline.verify.output import all_blocks
from squall.pipeline.verify.run import verify
from tests.pipeline.verify.verify_examples import config

TEST = "2024-06-01T04:00"  # later times are in neither the training nor the validation periods


@pytest.fixture(scope="module")
def result(chain, tmp_path_factory):
    out = tmp_path_factory.mktemp("scores")
    return verify(config(chain, out, cases=1, pixels="observed"))


@pytest.fixture(autouse=True)
def quick_report(result, monkeypatch):
    """No pictures after the first run, and a report that has its texts only."""

    def words(title, sections, *, cautions=(), **rest):
        return "\n".join([title, *(section.title for section in sections), *cautions, str(rest)])

    monkeypatch.setattr(verify_output, "score_figures", lambda scores: {})
    monkeypatch.setattr(verify_output, "html_report", words)


def test_files_are_written_and_agree(result):
    with xr.open_dataset(result.netcdf, decode_timedelta=True) as scores:
        # the pixels are 1 km wide, and a window of 4 km has 5 pixels
        assert scores.scale.values.tolist() == [1, 5]
        assert scores.lead_time.values.tolist() == (np.arange(1, 5) * 300 * 10**9).tolist()
        assert {"csi", "pod", "far", "frequency_bias", "fss", "mae", "rmse"} <= set(scores)
        csi = float(scores.csi.sel({"method": "tiny", "threshold": 0.5}).isel(lead_time=0))
        assert {"csi_low", "csi_high", "seconds"} <= set(scores)
    table = pd.read_csv(result.csv)
    row = table.query("method == 'tiny' and lead_time_min == 5 and threshold_mm_h == 0.5")
    assert float(row.query("score == 'csi'").value.iloc[0]) == pytest.approx(csi)
    assert len(result.plots) >= 4
    assert all(path.stat().st_size > 10_000 for path in result.plots)
    assert "persistence" in result.table
    page = result.report.read_text()
    assert "tiny" in page
    assert page.count("data:image/") == len(result.plots) + 1  # and the case
    assert "a rainy case" in page


def test_persistence_is_scored_as_by_hand(result, chain):
    """The test counts the contingency table of all cases itself."""
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
    csi = result.scores.csi.sel({"method": "persistence", "threshold": 0.5}).isel(lead_time=0)
    assert float(csi) == pytest.approx(hits / events)


def test_windows_with_training_times_are_left_out(result, chain, tmp_path):
    # trained until 03:00, validated until 04:00; the context has three scans
    assert result.scores.attrs["first_reference_time"] == "2024-06-01 04:10:00"
    assert result.left_out > 0
    everything = verify(config(chain, tmp_path, include_training=True))
    assert everything.left_out == 0
    assert everything.cases > result.cases
    assert "include times that models were trained or validated on" in everything.report.read_text()
    with pytest.raises(DataError, match="a model was trained or validated on"):
        verify(config(chain, tmp_path, end="2024-06-01T01:00"))


def test_every_and_periods_choose_the_cases(chain, tmp_path):
    verified = verify(
        config(chain, tmp_path, start="2024-06-01T04:15", end="2024-06-01T04:45", every_minutes=15)
    )
    assert verified.cases == 3
    periods = ("2024-06-01T04:10/2024-06-01T04:20", "2024-06-01T04:40/2024-06-01T04:40")
    assert verify(config(chain, tmp_path, periods=periods)).cases == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every_minutes": 7}, "no multiple of the step"),
        ({"start": "2024-06-01T04:00", "end": "2024-06-01T03:00"}, "is after end"),
        ({"start": "tomorrowish"}, "is no time"),
        ({"periods": ("2024-06-01T04:00",)}, "is no period; write it START/END"),
        ({"periods": ("2024-06-01T04:00/2024-06-01T03:00",)}, "the start is after the end"),
        ({"models": ("guess",)}, "guess: neither a file nor"),
        ({"minutes": 4.0}, "--minutes 4 is less than the step"),
        ({"start": "2030-01-01"}, "no scan in the chosen time is followed by another scan"),
    ],
)
def test_wrong_requests_are_refused(chain, tmp_path, changes, message):
    with pytest.raises((ConfigError, DataError, ValidationError), match=message):
        verify(config(chain, tmp_path, **changes))


def test_archives_without_a_common_lead_time_are_refused_before_any_forecast(
    chain, tmp_path, monkeypatch
):
    """One step of 5 min ends before the first step of an archive of 10 min."""
    original = verify_plan.open_archive

    def opened(address, *snapshot):
        archive = original(chain.archive, *snapshot)
        if "slow" in str(address):
            shared = ("grid", "status", "snapshot", "times")
            archive = SimpleNamespace(**{name: getattr(archive, name) for name in shared})
            archive.name, archive.address = "slow", "slow.icechunk"
            archive.step = pd.Timedelta("10min")
        return archive

    monkeypatch.setattr(verify_plan, "open_archive", opened)
    both = {"archives": (chain.archive, "slow.icechunk"), "models": ("persistence",)}
    with pytest.raises(ConfigError, match="end at 5 min, before the first lead time of slow"):
        verify(config(chain, tmp_path, **both, lead_times=1))
    plan, _ = verify_plan.make_plan(config(chain, tmp_path, **both, minutes=10))
    assert [target.lead_times for target in plan.targets] == [2, 1]


def test_options_that_exclude_each_other_are_refused(chain, tmp_path):
    with pytest.raises(ValidationError, match="either periods or start"):
        config(chain, tmp_path, periods=("2024-06-01/2024-06-02",), end="2024-06-01")
    with pytest.raises(ValidationError, match="either lead_times or minutes"):
        config(chain, tmp_path, lead_times=3, minutes=15)
    for wrong in ((4.0, 1.0), (1.0, 1.0), (0.0, 1.0), (1.0, np.nan), (1.0, np.inf)):
        for name in ("scales_km", "thresholds_mm_h"):
            with pytest.raises(ValidationError, match="must be positive and rise"):
                config(chain, tmp_path, **{name: wrong})


def test_minutes_or_lead_times_give_the_length_of_forecasts(chain, tmp_path):
    for changes in ({"minutes": 12.0}, {"lead_times": 2}):
        verified = verify(config(chain, tmp_path, **changes))
        assert (verified.scores.lead_time / np.timedelta64(1, "m")).values.tolist() == [5, 10]


def test_only_reachable_pixels_count_for_all_methods(result, chain, tmp_path):
    """The test counts the pixels that are observed, extrapolated and known to all methods."""
    verified = verify(config(chain, tmp_path))
    archive = Archive.open(chain.archive)
    extrapolation, model = (find_method(m, archive) for m in ("extrapolation", chain.model))
    expected = np.zeros(4, dtype=int)
    for minute in ("10", "20", "30", "40", "50"):
        index = archive.index_of(pd.Timestamp(f"2024-06-01T04:{minute}"))
        context = archive.read(index - 3, 4).values
        known = ~np.isnan(archive.read(index + 1, 4).values) & ~np.isnan(context[-1])
        known &= ~np.isnan(extrapolation.nowcast(context, 4))
        known &= ~np.isnan(model.nowcast(context[-3:], 4))
        expected += known.sum(axis=(1, 2))
    for method in ("tiny", "persistence"):
        n_pixels = verified.scores.n_pixels.sel({"method": method}).values
        np.testing.assert_array_equal(n_pixels, expected)
    assert (expected <= result.scores.n_pixels.isel(method=0).values).all()
    assert expected[-1] < int(result.scores.n_pixels.isel(method=0, lead_time=-1))


def test_models_of_the_same_name_have_their_folder_in_the_label(chain, tmp_path):
    other = tmp_path / "other" / "best.ckpt"
    other.parent.mkdir()
    shutil.copy(chain.model, other)
    verified = verify(config(chain, tmp_path / "out", models=(chain.model, other)))
    names = ["tiny (run/best)", "tiny (other/best)", "persistence"]
    assert verified.scores["method"].values.tolist() == names
    first, second = (verified.scores.csi.sel({"method": name}) for name in names[:2])
    np.testing.assert_array_equal(first, second)


def test_all_dry_is_scored_without_events(chain, tmp_path, monkeypatch):
    def dry(self, first, count):
        times = np.datetime64("2024-06-01T04:00") + np.arange(count) * np.timedelta64(5, "m")
        return xr.DataArray(
            np.zeros((count, 64, 64), dtype=np.float32),
            dims=("time", "y", "x"),
            coords={"time": times},
        )

    monkeypatch.setattr(Archive, "read", dry)
    monkeypatch.setattr(Archive, "scans", lambda *arguments: iter(dry(*arguments).values))
    monkeypatch.setattr(
        NetworkMethod, "leads", lambda self, context, n: iter(np.zeros((n, 64, 64), "f4"))
    )
    verified = verify(config(chain, tmp_path))
    assert np.isnan(verified.scores.csi).all()
    assert float(verified.scores.mae.max()) == 0


def test_a_case_that_one_method_fails_on_is_left_out_for_all(chain, tmp_path, monkeypatch):
    original = Extrapolation.leads
    calls = []

    def sometimes(self, context, lead_times):
        calls.append(context)
        if len(calls) == 2:
            raise FloatingPointError("no rain to work with")
        if len(calls) == 3:
            return iter(np.full((lead_times, *context.shape[1:]), np.nan, dtype=np.float32))
        return original(self, context, lead_times)

    monkeypatch.setattr(Extrapolation, "leads", sometimes)
    result = verify(config(chain, tmp_path, models=("extrapolation",), lead_times=4, start=TEST))
    assert result.cases == int(result.scores.n_cases.max()) == 4
    reasons = [(f.reference_time, f.method, f.reason) for f in result.failures]
    assert reasons == [
        ("2024-06-01 04:10", "extrapolation", "FloatingPointError: no rain to work with"),
        ("2024-06-01 04:20", "extrapolation", "no pixel of the forecast is known"),
    ]
    assert "no rain to work with" in result.report.read_text()

    def never(self, context, lead_times):
        raise FloatingPointError("no rain at all")

    monkeypatch.setattr(Extrapolation, "leads", never)
    with pytest.raises(DataError, match=r"all 6 forecasts failed.*no rain at all"):
        verify(config(chain, tmp_path / "b", models=("extrapolation",), lead_times=4, start=TEST))


def test_forecasts_that_are_replaced_by_extrapolation_are_counted(chain, tmp_path, monkeypatch):
    pytest.importorskip("pysteps")
    calls = []

    def sometimes(self, prepared):
        calls.append(prepared)
        if len(calls) % 3 == 1:
            raise ValueError("no correlation")
        return np.ones(prepared.extrapolated.shape)

    monkeypatch.setattr(PystepsMethod, "_from_processes", sometimes)
    monkeypatch.setattr(pysteps_methods, "problem_of", lambda *forecasts: "")
    request = config(chain, tmp_path, models=("s-prog",), lead_times=2, start=TEST)
    for result in (verify(request), verify(request)):  # the second time from stored blocks
        wet = len(calls)
        assert wet > 3
        assert result.replaced == {"s-prog": len(range(0, wet, 3))}
        assert json.loads(result.scores.attrs["replaced_by_extrapolation"]) == result.replaced
        sentence = (
            f"In {result.replaced['s-prog']} of {result.cases} cases, pysteps has no forecast"
        )
        assert sentence in result.report.read_text()


def test_two_archives_are_scored_separately_and_pooled(result, chain, synthetic_config, tmp_path):
    other = tmp_path / "other.icechunk"
    source = synthetic_config.model_copy(update={"name": "other", "title": "The other"})
    files = (f"{chain.files}/**/*.nc",)
    ingest(IngestConfig(source=source, archive=other, files=files, workers=0))
    verified = verify(
        config(
            chain,
            tmp_path / "out",
            archives=(chain.archive, other),
            start=TEST,
            pixels="observed",
        )
    )
    # the model was trained on the first archive, so the second has three more cases
    by_archive = verified.by_archive
    assert verified.cases == sum(scores.attrs["cases"] for scores in by_archive.values())
    xr.testing.assert_equal(by_archive["synthetic"].csi, result.scores.csi)
    pooled, counts = verified.scores, [scores.n_pixels for scores in by_archive.values()]
    np.testing.assert_array_equal(pooled.n_pixels, counts[0] + counts[1])
    mean = sum(scores.mae * scores.n_pixels for scores in by_archive.values()) / pooled.n_pixels
    np.testing.assert_allclose(pooled.mae, mean)
    assert json.loads(pooled.attrs["chances"]).keys() == {"synthetic", "other"}
    assert (tmp_path / "out" / "other" / "scores.csv").exists()
    assert "The other" in verified.report.read_text()
    with pytest.raises(ConfigError, match="verify them separately"):
        verify(config(chain, tmp_path, archives=(chain.archive, chain.archive)))


def test_blocks_of_archives_with_other_spacings_share_their_axes(result):
    """A window of 4 km has another width on each grid, because it has whole pixels."""

    def scored(factor):
        blocks = [
            ScoreSums(block.data.assign_coords(scale=block.data.scale * factor))
            for block in result.blocks
        ]
        return SimpleNamespace(blocks=blocks, target=SimpleNamespace(scales_km=(1.0, 4.0)))

    blocks = all_blocks([scored(1.0), scored(1.02)])
    assert len(blocks) == 2 * len(result.blocks)
    model = str(result.scores["method"].values[0])
    once, twice = (
        with_intervals(of_blocks, reference="persistence", names=("csi",)).csi_gain
        for of_blocks in (result.blocks, blocks)
    )
    np.testing.assert_allclose(twice, once)
    assert np.isfinite(once.sel({"method": model})).any()


@pytest.fixture
def two_scans_lost(chain, monkeypatch):
    """The archive without the scans of 04:05 and 04:25."""
    archive = Archive.open(chain.archive)
    lost = [archive.index_of(pd.Timestamp(f"2024-06-01T04:{m}")) for m in ("05", "25")]
    status = archive.status.copy()
    status[lost] = MISSING
    read = Archive.read

    def incomplete(self, first, count):
        scans = read(self, first, count).copy()
        for index in lost:
            if first <= index < first + count:
                scans[index - first] = np.nan
        return scans

    monkeypatch.setattr(Archive, "status", status)
    monkeypatch.setattr(Archive, "read", incomplete)


def test_cases_with_incomplete_contexts_are_scored_on_request(chain, tmp_path, two_scans_lost):
    complete = verify(config(chain, tmp_path / "a", start=TEST))
    assert (complete.cases, complete.incomplete) == (3, 0)
    everything = verify(config(chain, tmp_path / "b", start=TEST, incomplete_contexts=True))
    assert (everything.cases, everything.incomplete) == (5, 2)
    with xr.open_dataset(everything.netcdf) as scores:
        missing = json.loads(scores.attrs["missing_context_scans"])
    assert missing == {"2024-06-01 04:10": 1, "2024-06-01 04:30": 1}
    assert "2 of the cases lack scans of their context" in everything.report.read_text()


def test_methods_that_need_all_scans_are_refused_with_incomplete_contexts(chain, tmp_path):
    pytest.importorskip("pysteps")
    models = ("s-prog", chain.model)
    with pytest.raises(ConfigError, match="s-prog cannot forecast when scans are missing"):
        verify(config(chain, tmp_path, models=models, incomplete_contexts=True))


def test_no_file_shows_the_signature_of_an_archive(chain, tmp_path, monkeypatch):
    """A renewed signature does not start a run from the beginning either."""
    signed = "https://radar.example/archive.zarr?X-Amz-Signature={}"
    archive = Archive.open(chain.archive)
    for module in (verify_plan, verify_scoring):
        monkeypatch.setattr(module, "open_archive", lambda *_: archive)
    for signature in ("abc123", "def456"):
        address = signed.format(signature)
        monkeypatch.setattr(archive, "address", address)
        verify(config(chain, tmp_path, models=("persistence",), start=TEST))
    assert len(list((tmp_path / "blocks").iterdir())) == 1
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"X-Amz" not in path.read_bytes(), path
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        assert scores.attrs["archive"] == "https://radar.example/archive.zarr"
