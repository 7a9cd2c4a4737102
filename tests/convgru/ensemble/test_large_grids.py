"""Members of large grids: in files, one at a time, and in strips; they are the same members."""

from pathlib import Path

import pytest
import torch

from squall.convgru import distribution, file_arrays, strips
from squall.convgru.ensemble import mixed_members, normal_scores
from squall.convgru.ensemble import start as start_module
from squall.convgru.ensemble.normal_scores import pair_correlations
from squall.convgru.ensemble.start import start_of_ensemble
from squall.convgru.thresholds import THRESHOLDS_MM_H
from tests.convgru.ensemble.evolving_rain import (
    check_equal_up_to_rounding,
    evolving_rain,
    run,
)

LEADS, MEMBERS = 3, 7


def as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_arrays, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(start_module, "GROUP_PX", 1)
    for module in (strips, distribution):
        monkeypatch.setattr(module, "STRIP_PX", 500)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (61, 43), (64, 64), (130, 97), (300, 33)])
def test_members_of_a_large_grid_are_those_of_a_small_one(monkeypatch, shape):
    scans = evolving_rain(side=304, columns=2)[:, : shape[0], : shape[1]].clone()
    scans[:, -(shape[0] // 3) :, : shape[1] // 2] = torch.nan
    levels = scans[-1].nan_to_num(0).clamp(min=0.02).log()
    chances = torch.stack([torch.sigmoid(2 * levels - t**0.5) for t in THRESHOLDS_MM_H])
    chances[:, :, -(shape[1] // 4) :] = torch.nan

    def members() -> torch.Tensor:
        leads = mixed_members(scans, iter([chances] * LEADS), LEADS, MEMBERS, run())
        return torch.stack(list(leads))

    expected = members()
    as_if_large(monkeypatch)
    check_equal_up_to_rounding(members(), expected)


def test_each_group_of_members_keeps_one_file_open(monkeypatch):
    """The system limits the number of open files, often to 1,024."""
    monkeypatch.setattr(file_arrays, "IN_MEMORY_BYTES", 0)
    noise = start_of_ensemble(evolving_rain(side=64, columns=2), run()).noise
    before = len(list(Path("/proc/self/fd").iterdir()))
    states = [noise.begin(1, 9) for _ in range(9)]
    assert len(states[0].now) == len(states[0].before) > 3
    assert len(list(Path("/proc/self/fd").iterdir())) == before + len(states)


@pytest.mark.parametrize("shape", [(450, 60), (64, 500), (416, 410)])
def test_correlations_of_pairs_repeat_with_the_cells_of_the_coarser_band(monkeypatch, shape):
    """As if each pixel had correlations of its own."""
    scans = evolving_rain(side=512, columns=2)[:, : shape[0], : shape[1]]
    noise = start_of_ensemble(scans, run()).noise
    repeated = pair_correlations(noise)
    monkeypatch.setattr(
        normal_scores, "_that_differ", lambda side, period: (torch.arange(side),) * 2
    )
    whole = pair_correlations(noise)
    assert repeated.keys() == whole.keys()
    smaller = 0
    for pair, correlation in repeated.items():
        expected = whole[pair].in_rows(slice(None)).float()
        difference = (correlation.in_rows(slice(None)).float() - expected).abs()
        # half precision: the last bit of a pixel may differ
        assert (difference <= 2**-10 * expected.abs() + 1e-5).all(), pair
        assert (difference > 0).double().mean() < 0.05, pair
        smaller += correlation.table.numel() < expected.numel() / 2
    assert smaller > len(repeated) / 2
