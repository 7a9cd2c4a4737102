"""Real scans: squall-base with every subset of its context, and the edge of radar coverage."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import torch
import yaml
from torch.nn.functional import avg_pool2d

from squall.convgru import load_nowcaster
from squall.convgru.motion import extrapolate
from squall.convgru.pretrained import find_model
from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from tests.convgru.rain_of import rain_of

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
SUBSETS = [older for count in range(4) for older in combinations((1, 2, 3), count)]
# of the archives without a file in configs/archives, or with files of other names
CONFIGS = {
    # MRMS repeats nine of ten pixels for one or two steps of 2 min and then changes them at once
    "mrms": {"step": "6min"},
    "opera": {"time_in_name": "%Y%m%d%H%M%S"},
    "dpc": {"step": "5min", "variable": "dbz", "time_in_name": "dpc_vmi_%Y%m%d%H%M"},
    "italy_north": {"step": "10min", "variable": "dbz"},
    "italy_campania": {"step": "10min", "variable": "dbz"},
    "knmi_2021": {
        "step": "5min", "variable": "image1", "format": "knmi", "time_in_name": "%Y%m%d%H%M"
    },
}  # fmt: skip
# path of the files and time of the last scan
CASES = {
    "knmi": ("2010/08/26/knmi_%Y%m%d%H%M.nc", "2010-08-26T06:00"),
    "fmi": ("2016/09/28/fmi_%Y%m%d%H%M.nc", "2016-09-28T16:00"),
    "bom_melbourne": ("2018/06/16/2_%Y%m%d_%H%M%S.prcp-cscn.nc", "2018-06-16T15:00"),
    "bom_brisbane": ("2020/10/31/66_%Y%m%d_%H%M%S.prcp-c10.nc", "2020-10-31T05:30"),
    "knmi_2021": ("2021/02/06/%Y%m%d%H%M.hf5", "2021-02-06T21:45"),
    "italy_north": ("2025/vmi_%Y%m%d.nc", "2025-03-24T12:00"),
    "italy_campania": ("2025/vmi_%Y%m%d.nc", "2025-03-23T05:00"),
    "dpc": ("2025/04/16/dpc_vmi_%Y%m%d%H%M.nc", "2025-04-16T18:45"),
    "mrms": ("2019/06/10/PrecipRate_00.00_%Y%m%d-%H%M%S.grib2", "2019-06-10T00:30"),
    "opera": ("2018/08/24/T_PAAH21_C_EUOC_%Y%m%d%H%M%S.hdf", "2018-08-24T20:00"),
}
SPACING_KM = {"bom_melbourne": 0.5, "bom_brisbane": 0.5, "opera": 2}  # of the others 1
SIDE = 256
LEADS = (0, 2)

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real archives at {DATA}")


def configuration(network: str) -> RadarNetworkConfig:
    path = ROOT / "configs" / "archives" / f"{network}.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    values = {"name": network, "source": "none"} | values | CONFIGS.get(network, {})
    return RadarNetworkConfig(**values)


def scans(network: str, name: str, last: str, steps: Iterable[int]) -> torch.Tensor:
    """(1, T, 1, H, W) mm/h: the scans some steps before (negative) and after the time ``last``."""
    config = configuration(network)
    times = [pd.Timestamp(last) + step * pd.Timedelta(config.step) for step in steps]
    rates = {}
    for path in dict.fromkeys(str(DATA / network / time.strftime(name)) for time in times):
        for scan in read_file(path, config).scans:
            if (time := pd.Timestamp(scan.time).round("min")) in times:
                rates[time] = RAIN_CODE.decode(scan.codes)
    return torch.from_numpy(np.stack([rates[time] for time in times])).float()[None, :, None]


def rainiest_crop(rain: torch.Tensor, last: int) -> torch.Tensor:
    """The crop with most rain in one scan, of those that the radar sees nearly all of."""
    scan = rain[:, last]
    side = min(SIDE, *scan.shape[-2:])
    wet, known = (
        avg_pool2d(mask.float(), side, stride=32) for mask in (scan >= 0.5, scan.isfinite())
    )
    place = torch.where(known > 0.6, wet, -1).argmax().item()
    top, left = (32 * int(i) for i in divmod(place, wet.shape[-1]))
    return rain[..., top : top + side, left : left + side]


def csi(forecast: torch.Tensor, observed: torch.Tensor, valid: torch.Tensor) -> float:
    event, hit = (observed >= 0.5) & valid, (forecast >= 0.5) & valid
    return ((event & hit).sum() / (event | hit).sum()).item()


@pytest.mark.parametrize("network", CASES)
def test_no_subset_of_the_context_is_worse_than_persistence_or_extrapolation(network: str) -> None:
    """Nor than the whole context, where that is worse than extrapolation."""
    if network == "mrms":
        pytest.importorskip("eccodes")
    name, last = CASES[network]
    rain = scans(network, name, last, (-3, -2, -1, 0, *(lead + 1 for lead in LEADS)))
    rain = rainiest_crop(rain, last=3)
    model, _ = load_nowcaster(find_model("squall-base"))
    step_min = pd.Timedelta(configuration(network).step) / pd.Timedelta("1min")
    resolution = {"step_min": step_min, "spacing_km": SPACING_KM.get(network, 1.0)}
    whole = rain_of(model, rain[:, :4], 3, **resolution)
    for older in SUBSETS:
        context = rain[:, :4].clone()
        for age in {1, 2, 3} - set(older):
            context[:, -1 - age] = torch.nan
        forecast = rain_of(model, context, 3, **resolution)
        extrapolated = extrapolate(context, 3)
        for observed, lead in zip(rain[:, 4:].unbind(1), LEADS, strict=True):
            methods = forecast[:, lead], whole[:, lead], extrapolated[:, lead], rain[:, 3]
            valid = ~torch.isnan(observed + sum(methods))
            assert valid.float().mean() > 0.5
            squall, complete, moved, persistence = (csi(x, observed, valid) for x in methods)
            assert persistence > 0.1, "the crop has too little rain to tell anything"
            if lead == 0:
                assert squall > persistence - 0.01, (older, squall, persistence)
            assert squall > min(moved, complete) - 0.02, (older, lead, squall, moved, complete)


def test_every_archive_has_a_case() -> None:
    folders = {path.name for path in DATA.iterdir() if path.is_dir()}
    assert folders - {"dwd_ry"} <= set(CASES)  # RADOLAN has no reader yet


def test_the_edge_of_coverage_is_as_dry_as_extrapolation_leaves_it() -> None:
    name = "2017/05/09/fmi_%Y%m%d%H%M.nc"
    context = scans("fmi", name, "2017-05-09T12:00", range(-3, 1))
    context = context[..., :640, :]  # the south of the domain is not needed
    model, _ = load_nowcaster(find_model("squall-base"))
    wet_share = []
    for forecast in (
        rain_of(model, context, 12, step_min=5)[0, -1, 0],
        extrapolate(context, 12)[0, -1, 0],
    ):
        known = ~torch.isnan(forecast).numpy()
        distance = scipy.ndimage.distance_transform_edt(known)
        wet_share.append((forecast.numpy()[known & (distance <= 2)] >= 0.1).mean())
    assert wet_share[0] < wet_share[1] + 0.03
