"""The pictures of docs/explanation/forecast.md: motion, scale bands, members.

    .venv/bin/python scripts/forecast_pictures.py ARCHIVE TIME

draws them from the scans of an archive until TIME (UTC) into docs/explanation/.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from squall import ForecastConfig, forecast, open_archive
from squall.convgru.heads.cascade import BANDS, scale_bands
from squall.convgru.motion import COARSE, FLOW_SCANS, coarse_motion
from squall.convgru.scaling import RainScaling
from squall.pipeline.pictures import CHANCE_SCALE, RAIN_SCALE

FOLDER = Path(__file__).parents[1] / "docs" / "explanation"
MARGIN = 20  # around what the radar sees [px]
LEAD = 6  # lead time step of the members that are drawn
SHOWN_BANDS = (1, 3, 5, BANDS - 1)


def main() -> None:
    """Draw the three pictures."""
    arguments = archive_and_time(__doc__)
    mpl.use("agg")
    archive = open_archive(arguments.archive)
    last = round((arguments.time - archive.start) / archive.step)
    rain = archive.read(first=last - FLOW_SCANS + 1, count=FLOW_SCANS + LEAD)
    scans = torch.from_numpy(rain.values[:FLOW_SCANS])
    motion(scans, archive.step)
    bands(scans[-1])
    members(arguments.archive, arguments.time, rain.values[FLOW_SCANS - 1 + LEAD])


def archive_and_time(doc: str | None) -> argparse.Namespace:
    """The arguments of a script that draws pictures of a time; its first line is the help."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("archive")
    parser.add_argument("time", type=pd.Timestamp)
    return parser.parse_args()


def seen(scan_HW: NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of what the radar sees, and a margin."""
    is_known = np.isfinite(scan_HW)
    sides = []
    for axis in (1, 0):
        places = np.flatnonzero(is_known.any(axis))
        sides.append(slice(max(places[0] - MARGIN, 0), places[-1] + MARGIN))
    return sides[0], sides[1]


def motion(scans_THW: torch.Tensor, step: pd.Timedelta) -> None:
    """The last scan, and how far its rain moves within half an hour."""
    field = coarse_motion(scans_THW[None, :, None])[0].numpy()
    every = 4  # of the coarse cells one arrow
    columns, rows = (
        np.arange(every // 2, size, every) for size in (field.shape[2], field.shape[1])
    )
    arrows = field[:, rows[:, None], columns] * (pd.Timedelta("30min") / step)
    figure, axes = plt.subplots(figsize=(6, 5.6), layout="constrained")
    last = scans_THW[-1].numpy()
    _draw(axes, RAIN_SCALE.rgba(last), "last scan, and its motion in 30 min", seen(last))
    place = np.meshgrid(columns * COARSE + COARSE / 2, rows * COARSE + COARSE / 2)
    axes.quiver(*place, arrows[0], -arrows[1], angles="uv", scale_units="xy", scale=1, width=0.003)
    _save(figure, "motion")


def bands(scan_HW: torch.Tensor) -> None:
    """Some of the scale bands of the last scan."""
    rain, known = RainScaling().normalise(scan_HW[None, None])
    values = scale_bands(rain, known)[0].numpy()
    figure, all_axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
    for axes, number in zip(all_axes, SHOWN_BANDS, strict=True):
        shown = np.where(known[0, 0].numpy() > 0, values[number], np.nan)
        limit = np.nanpercentile(np.abs(shown), 99)
        smooth = number == BANDS - 1
        title = "the smooth rest" if smooth else f"details of {2**number} pixels"
        colours = mpl.colormaps["RdBu"](0.5 + 0.5 * np.clip(shown / limit, -1, 1))
        colours[np.isnan(shown)] = mpl.colors.to_rgba(RAIN_SCALE.no_radar)
        _draw(axes, (255 * colours).astype(np.uint8), title, seen(scan_HW.numpy()))
    _save(figure, "bands")


def members(address: str, time: pd.Timestamp, observed_HW: NDArray[np.float32]) -> None:
    """Three members, the chance of 2 mm/h, and what was observed then."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "members.nc"
        forecast(
            ForecastConfig(
                archive=address,
                model="squall-base",
                at=str(time),
                members=20,
                lead_times=LEAD,
                thresholds_mm_h=(2.0,),
                products=("members", "chances"),
                out=out,
            )
        )
        with xr.open_dataset(out, decode_timedelta=True) as nowcast:
            latest = nowcast.isel(lead_time=-1).load()
    minutes = int(latest.lead_time / np.timedelta64(1, "m"))
    chance = latest.probability_of_exceedance.sel(threshold=2.0).values
    box = seen(observed_HW)
    figure, all_axes = plt.subplots(1, 5, figsize=(13, 3), layout="constrained")
    for number, axes in enumerate(all_axes[:3]):
        rain = latest.rain_rate_member.isel(realization=number).values
        _draw(axes, RAIN_SCALE.rgba(rain), f"member {number + 1}, {minutes} min ahead", box)
    _draw(all_axes[3], CHANCE_SCALE.rgba(100 * chance), "chance of at least 2 mm/h", box)
    _draw(all_axes[4], RAIN_SCALE.rgba(observed_HW), "observed then", box)
    _save(figure, "members")


def _draw(axes: Axes, rgba: NDArray[np.uint8], title: str, box: tuple[slice, slice]) -> None:
    rows, columns = box
    axes.imshow(rgba, interpolation="nearest")
    limits = {"xlim": (columns.start, columns.stop), "ylim": (rows.stop, rows.start)}
    axes.set(title=title, xticks=[], yticks=[], **limits)


def _save(figure: plt.Figure, name: str) -> None:
    path = FOLDER / f"{name}.png"
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
