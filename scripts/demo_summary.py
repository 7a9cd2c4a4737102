"""What the demo made, in a few lines: how the forecasts compare and where to look."""

import sys
from pathlib import Path

import xarray as xr


def main(folder: Path) -> int:
    """Print the summary; 1 if the model does not beat persistence."""
    with xr.open_dataset(folder / "scores" / "scores.nc") as scores:
        csi = scores.csi.sel(threshold=0.5).mean("lead_time")
        model, persistence = (float(csi.sel({"method": name})) for name in ("demo", "persistence"))
        cases = int(scores.attrs["cases"])
    gain = 100 * (model / persistence - 1)
    here = folder.resolve()
    print("One day of synthetic radar was ingested, a ConvGRU trained on 14.5 hours of it, and")
    print(f"{cases} forecasts of the six hours kept apart were scored against what came.")
    print(
        f"CSI at 0.5 mm/h, mean over 5 to 60 min: model {model:.3f}, persistence {persistence:.3f}"
    )
    print(f"({gain:+.0f} %). 1 is perfect, 0 no hit at all.")
    print(f"  maps      {here / 'maps'} (start with the overview and the animation)")
    print(f"  scores    {here / 'scores' / 'report.html'}, csi.png, scores.csv, scores.nc")
    print(f"  forecast  {here / 'forecast.nc'}")
    print(f"  model     {here / 'run' / 'best.ckpt'}")
    return 0 if model > persistence else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
