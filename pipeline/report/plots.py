"""Figures of scores: each against lead time with the methods side by side, and power spectra.

Public: `plots`, `method_styles`. Functions return figures and touch no files.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from squall.pipeline.report.looks import SCORE_LOOKS, minutes, shown_leads, shown_scales

# Okabe and Ito's colours, told apart with any colour vision, are for models; what they are
# compared with is grey, told apart by dashes.
MODEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_REFERENCES: dict[str, dict[str, Any]] = {
    "persistence": {"color": "0.68", "linestyle": (0, (1.2, 1.4))},
    "extrapolation": {"color": "0.55", "linestyle": (0, (5, 1.6))},
    "pysteps-extrapolation": {"color": "0.4", "linestyle": (0, (6, 1.5, 1.2, 1.5))},
    "s-prog": {"color": "0.15", "linestyle": "-"},
    "linda": {"color": "#8c7a66", "linestyle": "-"},
    "steps": {"color": "#5f7382", "linestyle": (0, (3, 1.2))},
}
_ERRORS = (
    "mae", "rmse", "mean_error", "b_mae", "b_mse", "correlation", "log_spectral_distance",
)  # fmt: skip
_COLUMNS = 4


def plots(scores: xr.Dataset) -> dict[str, Figure]:
    """Figures by name: `csi`, `frequency_bias`, `fss_4_km` and the like, `errors`, `spectra`.

    `fss_…` is there for the scales of `shown_scales`, `spectra` where `scores` has any power.
    Bands are `NAME_low` to `NAME_high`, drawn where `scores` has them.
    """
    figures = {
        "csi": _by_threshold(scores, "csi"),
        "frequency_bias": _by_threshold(scores, "frequency_bias"),
    }
    for scale in shown_scales(scores):
        figures[f"fss_{scale:.3g}_km"] = _by_threshold(scores.sel(scale=scale), "fss")
    figures["errors"] = _errors(scores)
    if "power" in scores and bool(scores["power"].notnull().any()):
        figures["spectra"] = _spectra(scores)
    return figures


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Matplotlib line properties of each method, which depend on its name and order only."""
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


def _by_threshold(scores: xr.Dataset, name: str) -> Figure:
    """A panel a threshold."""
    look = SCORE_LOOKS[name]
    figure, axes = _panels(len(scores["threshold"]))
    # Nothing is drawn where nothing was observed, as in `lead_means`.
    scores = scores.assign(
        {key: scores[key].where(scores["base_rate"] > 0) for key in _with_bounds(scores, name)}
    )
    for ax, threshold in zip(axes, scores["threshold"].values, strict=True):
        here = scores.sel(threshold=threshold)
        share = 100 * float(here["base_rate"].mean())
        observed = f"{share:.2g} % of pixels" if np.isfinite(share) else ""
        _draw(ax, here, name)
        ax.set_title(f"≥ {threshold:g} mm/h", loc="left", fontsize=10, fontweight="bold")
        ax.set_title(observed, loc="right", fontsize=8, color="0.4")
        if look.in_ratios:
            _ratio_axis(ax, scores[name].values)
        else:
            ax.set_ylim(bottom=0, top=None if bool(here[name].notnull().any()) else 1)
    at = f", neighbourhoods of {float(scores['scale']):.3g} km" if name == "fss" else ""
    _finish(figure, axes, f"{look.label}{at}", bands=f"{name}_low" in scores)
    return figure


def _errors(scores: xr.Dataset) -> Figure:
    """A panel a score of the rain rates themselves."""
    names = [name for name in _ERRORS if name in scores]
    figure, axes = _panels(len(names))
    for ax, name in zip(axes, names, strict=True):
        _draw(ax, scores, name)
        ax.set_title(SCORE_LOOKS[name].title, loc="left", fontsize=10, fontweight="bold")
        if name == "mean_error":
            ax.axhline(0, color="0.3", linewidth=0.8, zorder=2)
        elif bool(scores[name].notnull().any()) and float(scores[name].min()) >= 0:
            ax.set_ylim(bottom=0)
    _finish(figure, axes, "All rain rates", bands=any(f"{name}_low" in scores for name in names))
    return figure


def _spectra(scores: xr.Dataset) -> Figure:
    """Power against wavelength, a panel a lead time, the longest waves on the left."""
    leads = shown_leads(scores["lead_time"].values)
    figure, axes = _panels(len(leads), height_in=3.0, shared=True)
    wavelength = scores["wavelength"].values
    for ax, lead in zip(axes, leads, strict=True):
        here = scores.isel(lead_time=lead)
        observed = here["power_observed"].values
        ax.plot(wavelength, observed, color="black", linewidth=4, alpha=0.85, label="observed")
        for method, style in method_styles(scores["method"].values).items():
            ax.plot(wavelength, here["power"].sel({"method": method}), label=method, **style)
        lead_min = minutes(scores)[lead]
        ax.set_title(f"+{lead_min:g} min", loc="left", fontsize=10, fontweight="bold")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(wavelength.max(), wavelength.min())
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("wavelength [km]", fontsize=9)
        _tidy(ax)
    axes[0].set_ylabel("power of dBR [dB²]", fontsize=9)
    _head(figure, axes, "Power spectra of the rain fields")
    return figure


def _draw(ax: Axes, scores: xr.Dataset, name: str) -> None:
    """A line a method, with its interval as a band; scores have (method, lead_time) here."""
    lead_min = minutes(scores)
    for method, style in method_styles(scores["method"].values).items():
        here = scores.sel({"method": method})
        value, *bounds = (here[key].values for key in _with_bounds(scores, name))
        if bounds:
            low, high = bounds
            ax.fill_between(lead_min, low, high, color=style["color"], alpha=0.13, linewidth=0)
        # A score defined at a single lead time draws no line, hence the marker.
        marker = "o" if np.isfinite(value).sum() == 1 else ""
        ax.plot(lead_min, value, label=method, marker=marker, markersize=4, **style)
    ax.set_xlim(0, 1.03 * lead_min.max())
    _tidy(ax)


def _with_bounds(scores: xr.Dataset, name: str) -> list[str]:
    """Names of a score and, where `scores` has them, of its lower and upper bound."""
    return [name, *(f"{name}_{end}" for end in ("low", "high") if f"{name}_{end}" in scores)]


def _ratio_axis(ax: Axes, values: np.ndarray) -> None:
    """Logarithmic, with a line at 1; the same for all panels, and no wider than 1/20 to 20."""
    usable = values[np.isfinite(values) & (values > 0)]
    low, high = (usable.min(), usable.max()) if usable.size else (1.0, 1.0)
    # The limits first: a panel of zeros alone has none that a logarithmic axis could find.
    ax.set_ylim(min(0.75, max(0.05, low / 1.1)), max(1.33, min(20.0, high * 1.1)))
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.axhline(1, color="0.3", linewidth=0.8, zorder=2)


def _panels(
    count: int, *, height_in: float = 2.15, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with panels in rows of four, all of one size."""
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.7 * columns + 0.3, height_in * rows + 0.75), layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = (
        figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared).ravel().tolist()
    )
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def _tidy(ax: Axes) -> None:
    ax.grid(color="0.91", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, length=2.5)


def _finish(figure: Figure, axes: Sequence[Axes], title: str, *, bands: bool) -> None:
    for ax in axes[-_COLUMNS:]:
        ax.set_xlabel("lead time [min]", fontsize=9)
    _head(figure, axes, f"{title}; bands are 90 % intervals" if bands else title)


def _head(figure: Figure, axes: Sequence[Axes], title: str) -> None:
    """Title and one legend over all panels."""
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, title=title, title_fontproperties={"size": 11, "weight": "bold"},
        loc="outside upper left", ncols=min(len(axes), _COLUMNS), frameon=False,
        fontsize=9, alignment="left", handlelength=2.8,
    )  # fmt: skip
