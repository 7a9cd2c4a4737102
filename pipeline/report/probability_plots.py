"""Figures of chances and members: reliability, ROC, ranks, spread, spectra, CRPS of means.

`probability_figures` returns them; there are none without chances and members. This module writes
no files.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from squall.pipeline.report.panels import finish, head, panels, tidy
from squall.pipeline.report.plots import draw_lines, draw_spectra, method_styles
from squall.pipeline.scores.table import SCORES

FEW_PIXELS = 50  # the observed frequency of a range with fewer is not drawn


def probability_figures(scores: xr.Dataset) -> dict[str, Figure]:
    """Figures by name: `reliability`, `roc`.

    With members also `rank_histogram`, `spread_error_by_spread`, `member_spectra`, `means_crps`.
    """
    figures = {}
    if "observed_frequency" in scores:
        figures = {"reliability": _reliability(scores), "roc": _roc(scores)}
    if "rank_histogram" in scores:
        figures |= {
            "rank_histogram": _rank_histogram(scores),
            "spread_error_by_spread": _spread_error(scores),
            "member_spectra": draw_spectra(
                scores, ensembles(scores), "member_power", "single members"
            ),
            "means_crps": _means_crps(scores),
        }
    return figures


def probabilistic(scores: xr.Dataset) -> list[str]:
    """The methods that have chances between 0 and 1; a single forecast has none."""
    between = scores["n_of_chance"].isel(chance=slice(1, -1)).sum(("threshold", "chance"))
    return [str(method) for method in scores["method"].values[(between > 0).values]]


def ensembles(scores: xr.Dataset) -> list[str]:
    """The methods that have members."""
    ranks = scores["rank_histogram"].notnull().any("rank")
    return [str(method) for method in scores["method"].values[ranks.values]]


def _reliability(scores: xr.Dataset) -> Figure:
    """How often the event was observed against the chance; one panel a threshold."""
    figure, axes = panels(len(scores["threshold"]), height_in=2.7)
    styles = method_styles(scores["method"].values)
    for ax, threshold in zip(axes, scores["threshold"].values, strict=True):
        ax.plot([0, 1], [0, 1], color="0.3", linewidth=0.8, zorder=2)
        counts = ax.inset_axes((0.66, 0.07, 0.32, 0.24))
        for method in probabilistic(scores):
            at = scores.sel({"method": method, "threshold": threshold})
            _draw_reliability(
                ax, counts, at.isel(chance=at["n_of_chance"].values > 0), method, styles[method]
            )
        _square(ax, f"≥ {threshold:g} mm/h", "chance", "observed")
        counts.set_yscale("log")
        counts.set_xticks([])
        counts.tick_params(labelsize=6, length=1.5, pad=1)
        counts.yaxis.set_minor_formatter(NullFormatter())
        counts.set_title("pixels", fontsize=6, pad=1)
    head(figure, axes, "Reliability of chances; bars: 90 % of reliable forecasts lie there")
    return figure


def _draw_reliability(
    ax: Axes, counts: Axes, at: xr.Dataset, method: str, style: dict[str, Any]
) -> None:
    """Draw one method at one threshold, its frequencies where it has enough pixels."""
    n_pixels = at["n_of_chance"].values
    counts.plot(at["mean_chance"].values, n_pixels, **style | {"linewidth": 1})
    at = at.isel(chance=n_pixels >= FEW_PIXELS)
    chance, frequency = at["mean_chance"].values, at["observed_frequency"].values
    if "observed_frequency_low" in at:
        low, high = (at[f"observed_frequency_{end}"].values for end in ("low", "high"))
        ax.vlines(
            chance,
            np.clip(chance + low - frequency, 0, 1),
            np.clip(chance + high - frequency, 0, 1),
            color=style["color"], alpha=0.35, linewidth=2.5,
        )  # fmt: skip
    ax.plot(chance, frequency, label=method, marker="o", markersize=2.5, **style)


def _roc(scores: xr.Dataset) -> Figure:
    """Hit rate against false alarm rate, one panel a threshold, and the areas in it."""
    figure, axes = panels(len(scores["threshold"]), height_in=2.7)
    styles = method_styles(scores["method"].values)
    for ax, threshold in zip(axes, scores["threshold"].values, strict=True):
        ax.plot([0, 1], [0, 1], color="0.3", linewidth=0.8, zorder=2)
        for method, style in styles.items():
            at = scores.sel({"method": method, "threshold": threshold})
            rates = (np.append(at[n].values, 0) for n in ("false_alarm_rate", "hit_rate"))
            ax.plot(*rates, label=method, marker="o", markersize=2.5, **style)
        _square(ax, f"≥ {threshold:g} mm/h", "false alarm rate", "hit rate")
    head(figure, axes, "ROC: warnings from each chance on, all lead times together")
    return figure


def _square(ax: Axes, title: str, x_label: str, y_label: str) -> None:
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel(x_label, fontsize=9)
    ax.set_ylabel(y_label, fontsize=9)
    tidy(ax)


def _rank_histogram(scores: xr.Dataset) -> Figure:
    """One panel for each ensemble; 1 is flat."""
    methods = ensembles(scores)
    figure, axes = panels(max(len(methods), 1))
    styles = method_styles(scores["method"].values)
    ranks = scores["rank"].values
    for ax, method in zip(axes, methods, strict=False):
        values = scores["rank_histogram"].sel({"method": method}).values
        ax.bar(ranks, values, width=0.9, color=styles[method]["color"], alpha=0.8)
        ax.plot([], [], label=method, **styles[method])
        ax.axhline(1, color="0.3", linewidth=0.8, zorder=2)
        ax.set_title(method, loc="left", fontsize=10, fontweight="bold")
        ax.set_xlabel("members below the observation", fontsize=9)
        tidy(ax)
    axes[0].set_ylabel("count / mean count", fontsize=9)
    head(figure, axes, "Rank histogram")
    return figure


def _spread_error(scores: xr.Dataset) -> Figure:
    """Error of the mean of members against their spread, by ranges of spread."""
    figure, (ax,) = panels(1, height_in=2.7)
    styles = method_styles(scores["method"].values)
    values = []
    for method in ensembles(scores):
        of_method = scores.sel({"method": method})
        spread, error = of_method["spread_of_range"].values, of_method["error_of_range"].values
        is_drawn = (spread > 0) & (error > 0)
        values += [*spread[is_drawn], *error[is_drawn]]
        ax.plot(
            spread[is_drawn], error[is_drawn], label=method, marker="o", markersize=3.5,
            **styles[method],
        )  # fmt: skip
    if values:
        ends = 0.8 * min(values), 1.25 * max(values)
        ax.plot(ends, ends, color="0.3", linewidth=0.8, zorder=2)
        ax.set_xscale("log")
        ax.set_yscale("log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("spread of the members [mm/h]", fontsize=9)
    ax.set_ylabel("error of their mean [mm/h]", fontsize=9)
    tidy(ax)
    head(figure, [ax], "Spread and error")
    return figure


def _means_crps(scores: xr.Dataset) -> Figure:
    """One panel for each width."""
    figure, axes = panels(len(scores["width"]))
    score = SCORES["means_crps"]
    for ax, width in zip(axes, scores["width"].values, strict=True):
        draw_lines(ax, scores.sel(width=width), score)
        ax.set_title(f"means of {width:g} km", loc="left", fontsize=10, fontweight="bold")
        ax.set_ylim(bottom=0)
    finish(figure, axes, score.title, has_bands="means_crps_low" in scores)
    return figure
