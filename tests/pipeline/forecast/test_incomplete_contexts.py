"""Real scans: squall-base with every subset of its context, and the edge of radar coverage."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import torch
import yaml

from squall.convgru import load_nowcaster
from squall.convgru.motion import extrapolate
from squall.convgru.pretrained import find_model
from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
SUBSETS = [older for count in range(4) for older in combinations((1, 2, 3), count)]
MELBOURNE = "bom_melbourne/2018/06/16/2_%Y%m%d_%H%M%S.prcp-cscn.nc"
BRISBANE = "bom_brisbane/2020/10/31/66_%Y%m%d_%H%M%S.prcp-c10.nc"
CASES = {
    "knmi": ("knmi/2010/08/26/knmi_%Y%m%d%H%M.nc", "2010-08-26T06:00", 5, (250, 250)),
    "fmi": ("fmi/2016/09/28/fmi_%Y%m%d%H%M.nc", "2016-09-28T16:00", 5, (700, 250)),
    "bom_melbourne": (MELBOURNE, "2018-06-16T15:00", 6, (128, 128)),
    "bom_brisbane": (BRISBANE, "2020-10-31T05:30", 10, (128, 128)),
}
SIDE = 256

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real archives at {DATA}")


def scans(network: str, name: str, last: str, step_min: int, later: int) -> torch.Tensor:
    """(1, T, 1, H, W) mm/h: four scans up to ``last``, and some later ones."""
    text = (ROOT / "configs" / "archives" / f"{network}.yaml").read_text(encoding="utf-8")
    config = RadarNetworkConfig(**yaml.safe_load(text))
    rates = []
    for step in range(-3, later + 1):
        time = pd.Timestamp(last) + pd.Timedelta(minutes=step * step_min)
        (scan,) = read_file(str(DATA / time.strftime(name)), config).scans
        rates.append(RAIN_CODE.decode(scan.codes))
    return torch.from_numpy(np.stack(rates)).float()[None, :, None]


def csi(forecast: torch.Tensor, observed: torch.Tensor, valid: torch.Tensor) -> float:
    event, hit = (observed >= 0.5) & valid, (forecast >= 0.5) & valid
    return ((event & hit).sum() / (event | hit).sum()).item()


@pytest.mark.parametrize("network", CASES)
def test_no_subset_of_the_context_is_worse_than_persistence_or_extrapolation(network: str) -> None:
    name, last, step_min, (top, left) = CASES[network]
    rain = scans(network, name, last, step_min, later=3)
    rain = rain[..., top : top + SIDE, left : left + SIDE]
    model, _ = load_nowcaster(find_model("squall-base"))
    for older in SUBSETS:
        context = rain[:, :4].clone()
        for age in {1, 2, 3} - set(older):
            context[:, -1 - age] = torch.nan
        forecast, extrapolated = model(context, 3), extrapolate(context, 3)
        for lead in (0, 2):
            methods = forecast[:, lead], extrapolated[:, lead], rain[:, 3]
            observed = rain[:, 4 + lead]
            valid = ~torch.isnan(observed + sum(methods))
            assert valid.float().mean() > 0.5
            squall, moved, persistence = (csi(x, observed, valid) for x in methods)
            assert persistence > 0.1, "the crop has too little rain to tell anything"
            assert squall > persistence - 0.01, (older, lead, squall, persistence)
            assert squall > moved - 0.02, (older, lead, squall, moved)


def test_the_edge_of_coverage_is_as_dry_as_extrapolation_leaves_it() -> None:
    context = scans("fmi", "fmi/2017/05/09/fmi_%Y%m%d%H%M.nc", "2017-05-09T12:00", 5, later=0)
    context = context[..., :640, :]  # the south of the domain is not needed
    model, _ = load_nowcaster(find_model("squall-base"))
    wet_share = []
    for forecast in (model(context, 12)[0, -1, 0], extrapolate(context, 12)[0, -1, 0]):
        known = ~torch.isnan(forecast).numpy()
        distance = scipy.ndimage.distance_transform_edt(known)
        wet_share.append((forecast.numpy()[known & (distance <= 2)] >= 0.1).mean())
    assert wet_share[0] < wet_share[1] + 0.03
