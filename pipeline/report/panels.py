"""Panels of equal size in one figure, with one title and one legend over all of them."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from squall.pipeline.lettering import plain, readable

_COLUMNS = 4
_DPI = 120  # sharp enough for a screen; five archives with their plots fit in a page of 5 MB
_LONGEST_NAME = 40  # characters of a method's name in a legend


def panels(
    count: int, *, height_in: float = 2.15, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with panels of equal size, four in a row."""
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    size_in = (2.7 * columns + 0.3, height_in * rows + 0.75)
    figure = Figure(figsize=size_in, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = (
        figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared).ravel().tolist()
    )
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def tidy(ax: Axes) -> None:
    """Grid, spines and ticks as all plots have them."""
    ax.grid(color="0.91", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, length=2.5)


def finish(figure: Figure, axes: Sequence[Axes], title: str, *, has_bands: bool) -> None:
    """Label the axes of lead times, and add the title and the legend."""
    for ax in axes[-_COLUMNS:]:
        ax.set_xlabel("lead time [min]", fontsize=9)
    head(figure, axes, f"{title}; bands are 90 % intervals" if has_bands else title)


def head(figure: Figure, axes: Sequence[Axes], title: str) -> None:
    """Title and one legend over all panels."""
    # Matplotlib would leave out a method whose name starts with "_".
    lines = [line for line in axes[0].get_lines() if not str(line.get_label()).startswith("_child")]
    legend = figure.legend(
        lines, ["method"] * len(lines), title=title,
        title_fontproperties={"size": 11, "weight": "bold"},
        loc="outside upper left", ncols=min(len(axes), _COLUMNS), frameon=False,
        fontsize=9, alignment="left", handlelength=2.8,
    )  # fmt: skip
    for text, line in zip(legend.get_texts(), lines, strict=True):
        name = readable(line.get_label())
        plain(text, name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…")
