"""Figures of known scores."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from squall.pipeline.report.plots import method_styles, score_figures
from tests.pipeline.scores.score_examples import METHODS, THRESHOLDS, example_scores


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


def test_figures_and_panels() -> None:
    figures = score_figures(example_scores())
    assert list(figures) == [
        "csi", "frequency_bias", "fss_4_km", "fss_16_km", "errors", "spectra",
    ]  # fmt: skip
    assert titles(figures["csi"]) == [f"≥ {threshold:g} mm/h" for threshold in THRESHOLDS]
    assert titles(figures["errors"])[-1] == "Log-spectral distance [dB]"
    assert titles(figures["spectra"]) == ["+15 min", "+30 min", "+60 min"]
    legend = [text.get_text() for text in figures["spectra"].legends[0].get_texts()]
    assert legend == ["observed", *METHODS]


def test_lines_and_bands_are_the_scores() -> None:
    scores = example_scores()
    ax = score_figures(scores)["fss_16_km"].axes[4]
    at_threshold = scores.sel(scale=16, threshold=5)
    for line, method in zip(ax.lines, METHODS, strict=True):
        assert line.get_label() == method
        assert np.asarray(line.get_xdata()).tolist() == [5, 15, 30, 60]
        assert np.array_equal(line.get_ydata(), at_threshold["fss"].sel({"method": method}))
    band = ax.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(float(at_threshold["fss_low"][1].min()))
    assert band[:, 1].max() == pytest.approx(float(at_threshold["fss_high"][1].max()))


def test_spectra_are_drawn_against_wavelength() -> None:
    scores = example_scores()
    ax = score_figures(scores)["spectra"].axes[1]
    observed, first = ax.lines[:2]
    assert np.array_equal(observed.get_ydata(), scores["power_observed"][2])
    assert np.array_equal(first.get_ydata(), scores["power"].isel(method=0, lead_time=2))
    assert ax.get_xlim() == (32.0, 4.0)


def test_frequency_bias_has_a_logarithmic_axis_even_if_it_is_zero() -> None:
    scores = example_scores(intervals=False)
    scores["frequency_bias"][:, -1] = 0
    axes = score_figures(scores)["frequency_bias"].axes
    assert {ax.get_yscale() for ax in axes} == {"log"}
    assert len({ax.get_ylim() for ax in axes}) == 1
    low, high = axes[0].get_ylim()
    assert low < float(scores["frequency_bias"][:, :-1].min()) < 1 < high


def test_lead_times_without_observed_events_are_not_drawn() -> None:
    scores = example_scores()
    scores["base_rate"][:, -1, 1:] = 0
    line = score_figures(scores)["csi"].axes[-1].lines[0]
    assert np.isfinite(np.asarray(line.get_ydata())).tolist() == [True, False, False, False]
    assert line.get_marker() == "o"  # a single value draws no line, so it needs a marker


def test_only_the_core_scores() -> None:
    scores = example_scores(("forecast",), (1.0,), intervals=False)
    core = scores[["csi", "frequency_bias", "base_rate", "mae", "rmse", "mean_error"]]
    figures = score_figures(core)
    assert list(figures) == ["csi", "frequency_bias", "errors"]
    assert titles(figures["errors"]) == ["MAE [mm/h]", "RMSE [mm/h]", "Mean error [mm/h]"]
    assert not figures["csi"].axes[0].collections


def test_undefined_scores_can_be_drawn(tmp_path: Path) -> None:
    undefined = example_scores() * np.nan
    figures = score_figures(undefined)
    assert "spectra" not in figures
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 0


@pytest.mark.parametrize("lead_times", [slice(None), slice(1)])
def test_spectra_of_dry_fields_can_be_drawn(tmp_path: Path, lead_times: slice) -> None:
    """They have no power, which a logarithmic axis cannot show."""
    scores = example_scores()
    for name in ("power", "power_observed"):
        scores[name][{"lead_time": lead_times}] = 0
    score_figures(scores)["spectra"].savefig(tmp_path / "spectra.png")


def test_a_method_has_the_same_style_among_other_methods() -> None:
    alone = method_styles(["persistence", "squall-base", "mine.ckpt"])
    among = method_styles(["squall-base", "s-prog", "mine.ckpt", "steps", "persistence"])
    for method in alone:
        assert alone[method] == among[method]
    styles = [(str(style["color"]), str(style["linestyle"])) for style in among.values()]
    assert len(set(styles)) == len(styles)
    assert len({str(style) for style in method_styles(map(str, range(12))).values()}) == 12


def test_models_are_coloured_and_references_grey() -> None:
    def saturation(colour: str) -> float:
        return max(to_rgb(colour)) - min(to_rgb(colour))

    styles = method_styles(["a", "b", "persistence", "extrapolation", "s-prog", "linda", "steps"])
    for method, style in styles.items():
        assert (saturation(style["color"]) > 0.5) == (method in "ab")
