"""Summary of the demo in ten lines: scores of the methods, and where the results are."""

import sys
from pathlib import Path

import xarray as xr

METHODS = {
    "demo": "ConvGRU, trained here",
    "squall-base": "weights in the package",
    "extrapolation": "optical flow",
    "persistence": "the last scan again",
}


def main(folder: Path) -> int:
    """Print the summary; returns 1 if the trained model is not better than persistence."""
    with xr.open_dataset(folder / "scores" / "scores.nc") as scores:
        csi = scores.csi.sel(threshold=[0.5, 2.0]).mean("lead_time").load()
        mae = scores.mae.mean("lead_time").load()
        cases = int(scores.attrs["cases"])
    root = folder.resolve()
    print(f"{cases} forecasts of six hours that no model knew, 5 to 60 min ahead:")
    print(f"{'':14}{'CSI 0.5':>9}{'CSI 2':>9}{'MAE':>9}   (CSI: 1 is perfect; MAE in mm/h)")
    for name, words in METHODS.items():
        values = (*csi.sel({"method": name}).values, float(mae.sel({"method": name})))
        print(f"{name:14}" + "".join(f"{value:9.3f}" for value in values) + f"   {words}")
    print(f"maps    {root / 'maps'}: start with the overview and the animation")
    print(f"chances {root / 'first'}: the first forecast, 20 members")
    print(f"scores  {root / 'scores' / 'report.html'}")
    print(f"page    {_page(root / 'live')}")
    # sel(method=…) would be the way how to find a coordinate
    better = csi.sel({"method": "demo"}) > csi.sel({"method": "persistence"})
    return 0 if bool(better.all()) else 1


def _page(site: Path) -> str:
    """How to open the page: a browser lets a page read files from a server only."""
    if not (site / "index.html").exists():
        return "is missing: it could not be built without the npm registry"
    return f"http://localhost:8000 after: python3 -m http.server --directory {site} 8000"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
