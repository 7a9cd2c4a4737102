"""Figures of scores against lead time, one line for each method, and power spectra.

`score_figures` returns the figures; `method_styles` has the colours of the methods. This module
writes no files.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from squall.pipeline.report.panels import finish, head, panels, tidy
from squall.pipeline.report.summary import minutes, scores_to_show, shown_leads, shown_scales
from squall.pipeline.scores.axes import BY_LEAD_TIME, BY_SCALE, BY_THRESHOLD
from squall.pipeline.scores.score import Score

# Models have the colours of Okabe and Ito, which readers with any colour vision can distinguish.
# Reference methods are grey and differ by their dashes.
MODEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_REFERENCES: dict[str, dict[str, Any]] = {
    "persistence": {"color": "0.68", "linestyle": (0, (1.2, 1.4))},
    "extrapolation": {"color": "0.55", "linestyle": (0, (5, 1.6))},
    "pysteps-extrapolation": {"color": "0.4", "linestyle": (0, (6, 1.5, 1.2, 1.5))},
    "s-prog": {"color": "0.15", "linestyle": "-"},
    "linda": {"color": "#8c7a66", "linestyle": "-"},
    "steps": {"color": "#5f7382", "linestyle": (0, (3, 1.2))},
    "lagrangian-probability": {"color": "#8f6f8f", "linestyle": (0, (4, 1.2, 1.2, 1.2))},
}


def score_figures(scores: xr.Dataset) -> dict[str, Figure]:
    """Figures by name: `csi`, `frequency_bias`, `fss_4_km` and the like, `errors`, `spectra`.

    Each score by threshold has a figure, each score by scale one for each scale of `shown_scales`.
    `spectra` exists where `scores` has any power. A band from `NAME_low` to `NAME_high` is drawn
    where `scores` has them.
    """
    figures = {
        score.name: _by_threshold(scores, score) for score in scores_to_show(scores, BY_THRESHOLD)
    }
    for score in scores_to_show(scores, BY_SCALE):
        for scale in shown_scales(scores):
            figures[f"{score.name}_{scale:.3g}_km"] = _by_threshold(scores.sel(scale=scale), score)
    figures["errors"] = _errors(scores)
    if "power" in scores and bool(scores["power"].notnull().any()):
        figures["spectra"] = draw_spectra(scores, [str(name) for name in scores["method"].values])
    return figures


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Matplotlib line properties of each method. They depend only on its name and its order."""
    styles: dict[str, dict[str, Any]] = {}
    models = 0
    for method in map(str, methods):
        if method in _REFERENCES:
            styles[method] = {"linewidth": 1.5, "zorder": 2.1, **_REFERENCES[method]}
        else:
            colour, dash = MODEL_COLOURS[models % len(MODEL_COLOURS)], models // len(MODEL_COLOURS)
            dashes = _DASHES[dash % len(_DASHES)]
            styles[method] = {
                "linewidth": 2.2, "zorder": 2.5, "color": colour, "linestyle": dashes,
            }  # fmt: skip
            models += 1
    return styles


def _by_threshold(scores: xr.Dataset, score: Score) -> Figure:
    """One panel for each threshold."""
    figure, axes = panels(len(scores["threshold"]))
    # Lead times at which the threshold was not observed are left out, as in `lead_means`.
    scores = scores.assign(
        {
            name: scores[name].where(scores["base_rate"] > 0)
            for name in _names_with_bounds(scores, score)
        }
    )
    for ax, threshold in zip(axes, scores["threshold"].values, strict=True):
        at_threshold = scores.sel(threshold=threshold)
        share = 100 * float(at_threshold["base_rate"].mean())
        observed = f"{share:.2g} % of pixels" if np.isfinite(share) else ""
        draw_lines(ax, at_threshold, score)
        ax.set_title(f"≥ {threshold:g} mm/h", loc="left", fontsize=10, fontweight="bold")
        ax.set_title(observed, loc="right", fontsize=8, color="0.4")
        values = at_threshold[score.name]
        if score.in_ratios:
            _ratio_axis(ax, scores[score.name].values)
        elif not bool(values.notnull().any()):
            ax.set_ylim(0, 1)
        elif float(values.min()) > -1e-9:  # rounding makes a score of 0 slightly negative
            ax.set_ylim(bottom=0)
    width = f", neighbourhoods of {float(scores['scale']):.3g} km" if score.dims == BY_SCALE else ""
    finish(figure, axes, f"{score.title}{width}", has_bands=f"{score.name}_low" in scores)
    return figure


def _errors(scores: xr.Dataset) -> Figure:
    """One panel for each score of all rain rates."""
    general_scores = scores_to_show(scores, BY_LEAD_TIME)
    figure, axes = panels(len(general_scores))
    for ax, score in zip(axes, general_scores, strict=True):
        draw_lines(ax, scores, score)
        ax.set_title(score.title, loc="left", fontsize=10, fontweight="bold")
        values = scores[score.name]
        if score.direction == "nearer":
            ax.axhline(score.ideal, color="0.3", linewidth=0.8, zorder=2)
        elif bool(values.notnull().any()) and float(values.min()) >= 0:
            ax.set_ylim(bottom=0)
    has_bands = any(f"{score.name}_low" in scores for score in general_scores)
    finish(figure, axes, "All rain rates", has_bands=has_bands)
    return figure


def draw_spectra(
    scores: xr.Dataset, methods: Sequence[str], name: str = "power", of: str = "rain fields"
) -> Figure:
    """Power against wavelength, one panel for each lead time, the longest waves on the left.

    Parameters
    ----------
    name : of the spectrum; it is drawn beside the observed one.
    of : what it is the spectrum of, for the title.
    """
    leads = shown_leads(scores["lead_time"].values)
    figure, axes = panels(len(leads), height_in=3.0, shared=True)
    wavelength = scores["wavelength"].values
    styles = method_styles(scores["method"].values)
    powers = scores[[name, "power_observed"]]
    powers = powers.where(powers > 0)  # dry fields have no power
    has_power = bool(powers.isel(lead_time=leads).notnull().to_array().any())
    for ax, lead in zip(axes, leads, strict=True):
        at_lead = powers.isel(lead_time=lead)
        observed = at_lead["power_observed"].values
        ax.plot(wavelength, observed, color="black", linewidth=4, alpha=0.85, label="observed")
        for method in methods:
            power = at_lead[name].sel({"method": method})
            ax.plot(wavelength, power, label=method, **styles[method])
        lead_min = minutes(scores)[lead]
        ax.set_title(f"+{lead_min:g} min", loc="left", fontsize=10, fontweight="bold")
        ax.set_xscale("log")
        if has_power:  # a logarithmic axis finds no limits otherwise
            ax.set_yscale("log")
        ax.set_xlim(wavelength.max(), wavelength.min())
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("wavelength [km]", fontsize=9)
        tidy(ax)
    axes[0].set_ylabel("power of dBR [dB²]", fontsize=9)
    head(figure, axes, f"Power spectra of the {of}")
    return figure


def draw_lines(ax: Axes, scores: xr.Dataset, score: Score) -> None:
    """One line for each method, its interval as a band; scores have dims (method, lead_time)."""
    lead_min = minutes(scores)
    for method, style in method_styles(scores["method"].values).items():
        of_method = scores.sel({"method": method})
        value, *bounds = (of_method[name].values for name in _names_with_bounds(scores, score))
        if bounds:
            low, high = bounds
            ax.fill_between(lead_min, low, high, color=style["color"], alpha=0.13, linewidth=0)
        # A score that is defined at one lead time only draws no line: it needs a marker.
        marker = "o" if np.isfinite(value).sum() == 1 else ""
        ax.plot(lead_min, value, label=method, marker=marker, markersize=4, **style)
    ax.set_xlim(0, 1.03 * lead_min.max())
    tidy(ax)


def _names_with_bounds(scores: xr.Dataset, score: Score) -> list[str]:
    """Names of a score and, where `scores` has them, of its lower and upper bound."""
    bounds = (f"{score.name}_{end}" for end in ("low", "high"))
    return [score.name, *(name for name in bounds if name in scores)]


def _ratio_axis(ax: Axes, values: np.ndarray) -> None:
    """A logarithmic axis with a line at 1, equal in all panels, no wider than 1/20 to 20."""
    usable = values[np.isfinite(values) & (values > 0)]
    low, high = (usable.min(), usable.max()) if usable.size else (1.0, 1.0)
    # Limits must come first: a logarithmic axis finds none in a panel that has only zeros.
    ax.set_ylim(min(0.75, max(0.05, low / 1.1)), max(1.33, min(20.0, high * 1.1)))
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.axhline(1, color="0.3", linewidth=0.8, zorder=2)
