"""How much memory a process needs that makes forecasts, estimated from the grid and the methods.

Public: `worker_bytes`.

The numbers were measured as the peak of a process, pages of mapped temporary files included
(docs/how-to/large-grids.md, docs/performance.md), and rounded up. A GB here is 10⁹ bytes. In these
documents it is 10⁶ times the kB of the kernel, which are 1,024 bytes: 7.4 there are 7.6 here.
"""

from __future__ import annotations

from collections.abc import Iterable

from squall.convgru.ensemble.start import GROUP, GROUP_PX
from squall.pipeline.forecast.methods import is_ensemble
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.pysteps_methods import PystepsMethod
from squall.pipeline.forecast.steps_method import StepsMethod

BASE_BYTES = 8e8  # Python, the libraries, a model
# Bytes for each pixel of the grid
PLAIN = 130  # extrapolation and stored forecasts: 3.7 GB to score them on 3500 x 7000
NETWORK = 215  # 5.8 GB on 3500 x 7000
PYSTEPS = 1100  # 12 lead times; S-PROG on 384 and 768 pixels a side, the extrapolation takes 490
STEPS_MEMBER = 240  # more for each member; 20 members, 192 and 320 pixels a side
ENSEMBLE, ENSEMBLE_GROUP = 150, 165  # 3.7 GB on 2048 x 2048, 7.6 GB on 3500 x 7000
SCORED_MEMBERS = 100  # to score members, beside those that make them: .41 GB on 2048 x 2048


def worker_bytes(methods: Iterable[object], pixels: int, members: int | None) -> float:
    """Peak of the memory of a process that forecasts with some methods, one after the other.

    Parameters
    ----------
    pixels : of the grid.
    members : number of members that methods make; those of several methods exist side by side.
    """
    methods = list(methods)
    single = max([PLAIN, *(_of_single(method) for method in methods)]) * pixels
    ensembles = sum(_of_members(method, pixels, members) for method in methods) if members else 0
    return BASE_BYTES + max(single, ensembles + (SCORED_MEMBERS * pixels if ensembles else 0))


def _of_single(method: object) -> float:
    """Bytes for each pixel of one forecast without members."""
    if isinstance(method, NetworkMethod):
        return NETWORK
    if isinstance(method, StepsMethod):
        return PYSTEPS + STEPS_MEMBER * method.members
    return PYSTEPS if isinstance(method, PystepsMethod) else PLAIN


def _of_members(method: object, pixels: int, members: int) -> float:
    """Bytes of the members of a method; 0 if it makes none."""
    if not is_ensemble(method):
        return 0
    if isinstance(method, PystepsMethod):
        return (PYSTEPS + STEPS_MEMBER * members) * pixels
    at_once = max(pixels, min(GROUP * pixels, GROUP_PX))  # pixels of the members made together
    return ENSEMBLE * pixels + ENSEMBLE_GROUP * at_once
