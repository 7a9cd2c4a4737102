"""`squall calibrate`: cuts, bias and reliability of a model of chances on one radar."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from squall.convgru.calibration import reliability_curve, skill_of_cuts
from squall.convgru.checkpoint import load_nowcaster, write_weights
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.calibrate.config import CalibrateConfig
from squall.pipeline.calibrate.figure import FEW_PIXELS, _panel
from squall.pipeline.calibrate.run import calibrate
from squall.pipeline.cli.main import main
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.run import forecast
from squall.pipeline.verify.cases import training_times
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.run import verify


@pytest.fixture(scope="module")
def calibrated(chain, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrated") / "tiny.safetensors"
    return calibrate(
        CalibrateConfig(
            archive=str(chain.archive), model=model, out=out, most_forecasts=5, workers=1
        )
    )


def test_the_model_keeps_its_weights_and_gets_the_calibration(chain, model, calibrated):
    before, _ = load_nowcaster(model)
    after, provenance = load_nowcaster(calibrated.out)
    for name, weights in before.network.state_dict().items():
        assert (weights == after.network.state_dict()[name]).all()
    (entry,) = provenance["calibrations"]
    assert entry["minutes"] == [5, 10, 15, 20]
    assert entry["source"]["forecasts"] == calibrated.forecasts == 5
    assert entry["source"]["snapshot"] == open_archive(str(chain.archive)).snapshot


def test_without_a_period_the_times_of_validation_are_counted(calibrated):
    source = calibrated.calibration.source
    assert source["first"] == "2024-06-01T03:10:00"  # three scans of context from 03:00 on
    assert source["last"] == "2024-06-01T03:55:00"  # the last scan before the test period


def test_the_validation_of_the_first_model_does_not_hinder_a_calibration(
    chain, model, calibrated, tmp_path
):
    """A model that began with the weights of one that was validated on the same days."""
    nowcaster, provenance = load_nowcaster(model)
    init = {"name": "first", "sha256": "0", "archives": provenance["archives"]}
    path = tmp_path / "second.safetensors"
    write_weights(path, nowcaster, provenance | {"init": init}, torch.float32)
    result = calibrate(
        CalibrateConfig(
            archive=str(chain.archive), model=path, out=tmp_path / "c.safetensors",
            most_forecasts=5, workers=1,
        )
    )  # fmt: skip
    assert np.array_equal(result.counts_LKEN, calibrated.counts_LKEN)


def test_verification_leaves_out_what_a_model_was_calibrated_on(chain, model, tmp_path):
    result = calibrate(
        CalibrateConfig(
            archive=str(chain.archive), model=model, out=tmp_path / "late.safetensors",
            start="2024-06-01T04:20", end="2024-06-01T04:30", workers=1,
        )
    )  # fmt: skip
    archive = open_archive(str(chain.archive))
    _, before = load_nowcaster(model)
    _, after = load_nowcaster(result.out)
    added = archive.times[training_times(archive, [after]) & ~training_times(archive, [before])]
    assert str(added[0]) == "2024-06-01 04:20:00"
    assert str(added[-1]) == "2024-06-01 04:50:00"  # the last forecast's last lead time


def test_the_cut_of_the_best_csi_is_the_best_on_what_was_counted(calibrated):
    skill = skill_of_cuts(calibrated.counts_LKEN)
    cut = calibrated.calibration.best_cuts[1][1]
    number = round((cut + 12) / 0.1)
    assert skill.csi[1, 1, number] == skill.csi[1, 1].max() > 0.2


def test_a_forecast_says_that_its_model_is_not_calibrated(chain, model, tmp_path, caplog):
    forecast(
        ForecastConfig(
            archive=str(chain.archive), model=model, out=tmp_path / "f.nc", at="2024-06-01T04:30"
        )
    )
    assert "is not calibrated on this radar network" in caplog.text


def test_all_products_are_possible_afterwards(chain, calibrated, tmp_path):
    rain = {}
    for product in ("order", "best-csi", "unbiased", "expected"):
        dataset = forecast(
            ForecastConfig(
                archive=str(chain.archive),
                model=f"{calibrated.out}:{product}",
                out=tmp_path / "f.nc",
                at="2024-06-01T04:30",
            )
        )
        rain[product] = dataset.rain_rate.values
        assert dataset.attrs["product"] == product
        assert json.loads(dataset.attrs["calibration"])["forecasts"] == 5
        assert dataset.attrs["model"] == ("tiny" if product == "order" else f"tiny {product}")
    assert len({values.tobytes() for values in rain.values()}) == 4


def test_verification_takes_several_products_of_one_model(chain, calibrated, tmp_path):
    result = verify(
        VerifyConfig(
            archives=(str(chain.archive),),
            models=(str(calibrated.out), f"{calibrated.out}:best-csi"),
            out=tmp_path / "scores",
            start="2024-06-01T04:00",
            every_minutes=20,
            cases=0,
            workers=1,
        )
    )
    text = (tmp_path / "scores" / "report.html").read_text()
    assert "tiny best-csi" in text
    assert result


def test_verification_scores_the_chances_that_a_model_says(chain, model, calibrated, tmp_path):
    """Calibrated and not; the test counts the Brier score of all pixels itself."""
    moment, levels = "2024-06-01T04:30", (0.5, 1.0, 2.0)
    result = verify(
        VerifyConfig(
            archives=(str(chain.archive),), models=(str(model), str(calibrated.out)),
            out=tmp_path / "scores", periods=(f"{moment}/{moment}",), thresholds_mm_h=levels,
            pixels="observed", cases=1, workers=1,
        )
    )  # fmt: skip
    archive = open_archive(str(chain.archive))
    index = archive.index_of(pd.Timestamp(moment))
    observed = archive.read(index + 1, 4).values
    made = {}
    for path in (model, calibrated.out):
        method = NetworkMethod.load(path, archive)
        assert method.chance_thresholds(levels) == (0.5, 2.0)
        context = archive.read(index - method.context + 1, method.context).values
        made[path] = np.stack(list(method.leads_with_chances(context, 4, (0.5, 2.0))), axis=1)
        np.testing.assert_array_equal(made[path][0], method.nowcast(context, 4))
    known = ~np.isnan(observed) & ~np.isnan(archive.read(index, 1).values)
    known &= ~np.isnan(np.concatenate(list(made.values()))).any(axis=0)
    scores = result.scores
    names = [str(name) for name in scores.method.values if name != "persistence"]
    for name, chances in zip(names, made.values(), strict=True):
        for level, chance in zip((0.5, 2.0), chances[1:], strict=True):
            squares = (chance.astype(float) - (observed >= level)) ** 2
            expected = [squares[lead][known[lead]].mean() for lead in range(4)]
            brier = scores.fair_brier.sel({"method": name, "threshold": level})
            np.testing.assert_allclose(brier, expected, rtol=1e-6)
        assert np.isnan(scores.fair_brier.sel({"method": name, "threshold": 1.0})).all()
    raw, after = (scores.fair_brier.sel({"method": name, "threshold": 0.5}) for name in names)
    assert float(abs(raw - after).max()) > 1e-4
    page = result.report.read_text()
    assert "said by the method, at 0.5, 2 mm/h, calibrated on this radar network" in page
    assert "said by the method, at 0.5, 2 mm/h, not calibrated on this radar network" in page
    assert json.loads(scores.attrs["chances"]).keys() == set(names)
    assert {"reliability.png", "roc.png"} <= {path.name for path in result.plots}


def test_a_verification_without_a_threshold_of_the_chances_says_so(chain, model, tmp_path, caplog):
    result = verify(
        VerifyConfig(
            archives=(str(chain.archive),), models=(str(model),), out=tmp_path, cases=0,
            start="2024-06-01T04:30", every_minutes=20, thresholds_mm_h=(1.0,), workers=1,
        )
    )  # fmt: skip
    assert (
        "tiny: has chances of 0.2, 0.5, 2, 5, 10, 20 mm/h only, so its chances are" in caplog.text
    )
    assert "fair_brier" not in result.scores


def test_a_calibration_is_only_for_its_own_radar(chain, calibrated, rain_archive):
    own = NetworkMethod.load(calibrated.out, open_archive(str(chain.archive)))
    assert own.calibration is not None
    assert own.caution is None
    archive = open_archive(str(rain_archive))
    method = NetworkMethod.load(calibrated.out, archive)
    assert method.calibration is None
    assert "is not calibrated on this radar network" in str(method.caution)
    with pytest.raises(ConfigError, match="squall calibrate"):
        NetworkMethod.load(calibrated.out, archive, "best-csi")


def test_a_second_calibration_on_the_same_radar_replaces_the_first(chain, calibrated, tmp_path):
    again = calibrate(
        CalibrateConfig(
            archive=str(chain.archive),
            model=calibrated.out,
            out=tmp_path / "again.safetensors",
            most_forecasts=3,
            workers=1,
        )
    )
    _, provenance = load_nowcaster(again.out)
    assert [entry["source"]["forecasts"] for entry in provenance["calibrations"]] == [3]


def test_two_workers_count_the_same(chain, model, calibrated, tmp_path):
    result = calibrate(
        CalibrateConfig(
            archive=str(chain.archive), model=model, out=tmp_path / "two.safetensors",
            most_forecasts=5, workers=2,
        )
    )  # fmt: skip
    assert np.array_equal(result.counts_LKEN, calibrated.counts_LKEN)


def test_forecasts_that_end_after_the_archive_are_counted_as_far_as_it_goes(chain, model, tmp_path):
    result = calibrate(
        CalibrateConfig(
            archive=str(chain.archive), model=model, out=tmp_path / "end.safetensors",
            start="2024-06-01T04:45", workers=1,
        )
    )  # fmt: skip
    assert result.calibration.source["last"] == "2024-06-01T04:55:00"
    pixels = result.counts_LKEN[:, 0].sum(axis=(1, 2))
    assert pixels[0] > pixels[1] > 0
    assert (pixels[2:] == 0).all()


@pytest.fixture(scope="module")
def coarse(model, tmp_path_factory):
    """The same weights, as if they were trained on scans that are 10 min apart, 2 km wide."""
    nowcaster, provenance = load_nowcaster(model)
    path = tmp_path_factory.mktemp("coarse") / "coarse.safetensors"
    changed = {"name": "coarse", "steps_s": [600.0], "spacings_m": [2000.0]}
    write_weights(path, nowcaster, provenance | changed, torch.float32)
    return path


def test_a_model_of_other_steps_and_pixels_is_calibrated_at_its_own(chain, coarse, tmp_path):
    result = calibrate(
        CalibrateConfig(
            archive=str(chain.archive), model=coarse, out=tmp_path / "c.safetensors",
            start="2024-06-01T04:00", most_forecasts=4, workers=1,
        )
    )  # fmt: skip
    archive = open_archive(str(chain.archive))
    method = NetworkMethod.load(result.out, archive)
    assert method.calibration is not None
    assert method.lead_times == 8  # four of 10 min
    assert result.calibration.minutes == (10, 20, 30, 40)
    pixels = result.counts_LKEN[0, 0].sum()
    fine = np.prod(archive.grid.shape) * result.forecasts
    assert 0.1 * fine < pixels < 0.25 * fine  # of 2 × 2 pixels, and some are not known


def test_a_model_of_other_steps_and_pixels_forecasts_chances(chain, coarse, tmp_path):
    dataset = forecast(
        ForecastConfig(
            archive=str(chain.archive), model=coarse, out=tmp_path / "f.nc", at="2024-06-01T04:30"
        )
    )
    chances = dataset.probability_of_exceedance
    assert dict(chances.sizes) == {"threshold": 6, **dict(dataset.rain_rate.sizes)}
    np.testing.assert_array_equal(dataset.rain_rate.isnull(), chances[0].isnull())
    assert float((chances.diff("threshold") <= 1e-6).where(chances[0].notnull()).min()) == 1
    archive = open_archive(str(chain.archive))
    method = NetworkMethod.load(coarse, archive)
    index = archive.index_of(pd.Timestamp("2024-06-01T04:30"))
    context = archive.read(index - method.context + 1, method.context)
    rain = method.nowcast(context.values, method.lead_times)
    np.testing.assert_array_equal(dataset.rain_rate.values, rain)


def test_a_model_of_rain_has_nothing_to_calibrate(chain, tmp_path):
    config = CalibrateConfig(
        archive=str(chain.archive), model=chain.model, out=tmp_path / "x.safetensors"
    )
    with pytest.raises(ConfigError, match="no chances"):
        calibrate(config)


def test_without_a_forecast_that_was_not_trained_on_there_is_an_error(chain, model, tmp_path):
    config = CalibrateConfig(
        archive=str(chain.archive), model=model, out=tmp_path / "x.safetensors",
        end="2024-06-01T01:00",
    )  # fmt: skip
    with pytest.raises(DataError, match="include-training"):
        calibrate(config)
    assert not config.out.exists()


def test_the_command_prints_scores_by_threshold(chain, model, tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    arguments = ["--archive", str(chain.archive), "--model", str(model), "--out", str(out)]
    assert main(["calibrate", *arguments, "--forecasts", "4", "--workers", "1"]) == 0
    text = capsys.readouterr().out
    assert "0.5 mm/h" in text
    assert "calibrated on 4 forecasts" in text


def test_the_picture_shows_frequencies_before_and_after(chain, model, calibrated, tmp_path):
    """The command draws it; its curves are those of the counts of all lead times."""
    out, picture = tmp_path / "tiny.safetensors", tmp_path / "reliability.png"
    arguments = ["--archive", str(chain.archive), "--model", str(model), "--out", str(out)]
    assert main(["calibrate", *arguments, "--forecasts", "5", "--plot", str(picture)]) == 0
    assert picture.stat().st_size > 20_000
    axes = Figure().subplots()
    _panel(axes, calibrated, 1)
    _, before, after = axes.get_lines()
    counts = calibrated.counts_LKEN[:, 1].sum(axis=0)
    chance, frequency, pixels = reliability_curve(counts)
    shown = pixels >= FEW_PIXELS
    assert np.allclose(before.get_xdata(), chance[shown])
    assert np.allclose(before.get_ydata(), frequency[shown])
    distance = [np.abs(np.subtract(*line.get_data())).mean() for line in (before, after)]
    assert distance[1] < distance[0]


def test_a_picture_of_another_kind_is_refused_before_the_work(chain, model, tmp_path):
    out = tmp_path / "tiny.safetensors"
    arguments = ["--archive", str(chain.archive), "--model", str(model), "--out", str(out)]
    assert main(["calibrate", *arguments, "--plot", str(tmp_path / "r.svg")]) == 2
    assert not out.exists()
