"""Summary of the demo in a few lines: scores beside persistence, and where the results are."""

import sys
from pathlib import Path

import xarray as xr


def main(folder: Path) -> int:
    """Print the summary; returns 1 if the model is not better than persistence."""
    with xr.open_dataset(folder / "scores" / "scores.nc") as scores:
        csi = scores.csi.sel(threshold=0.5).mean("lead_time")
        model, persistence = (float(csi.sel({"method": name})) for name in ("demo", "persistence"))
        cases = int(scores.attrs["cases"])
    gain = 100 * (model / persistence - 1)
    root = folder.resolve()
    print("One day of synthetic radar was ingested, a ConvGRU trained on 14.5 hours of it, and")
    print(f"{cases} forecasts of the six test hours were scored against the observed scans.")
    print(
        f"CSI at 0.5 mm/h, mean over 5 to 60 min: model {model:.3f}, persistence {persistence:.3f}"
    )
    print(f"({gain:+.0f} %). 1 is perfect, 0 means no hit.")
    print(f"  maps      {root / 'maps'} (start with the overview and the animation)")
    print(f"  scores    {root / 'scores' / 'report.html'}, csi.png, scores.csv, scores.nc")
    print(f"  page      {_page(root / 'live')}")
    print(f"  forecast  {root / 'forecast.nc'}")
    print(f"  model     {root / 'run' / 'best.ckpt'}")
    return 0 if model > persistence else 1


def _page(site: Path) -> str:
    """How to open the page: a browser lets a page read files from a server only."""
    if not (site / "index.html").exists():
        return "is missing: it could not be built without the npm registry"
    return f"http://localhost:8000 after: python3 -m http.server --directory {site} 8000"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
