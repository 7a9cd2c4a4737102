"""Training windows in the frame that moves with the rain."""

import torch

from squall.convgru.heads.moving_frame import moving_window
from squall.convgru.scaling import RainScaling

from ..moving_rain import moving_texture, texture

CONTEXT, LEADS = 4, 3


def test_rain_that_only_moves_stands_still_in_the_moving_frame():
    window = moving_window(
        moving_texture(rows=2, columns=3, scans=CONTEXT + LEADS), CONTEXT
    ).fields_BCHW
    assert window.shape == (1, CONTEXT + 5 * LEADS, 160, 160)
    inner, _ = RainScaling().normalise(window[0, :, 40:-40, 40:-40])
    last = inner[CONTEXT - 1]
    for future in inner[-LEADS:]:
        assert torch.corrcoef(torch.stack([future, last]).flatten(1))[0, 1] > 0.98


def test_the_last_scan_of_the_context_is_not_changed():
    scans = moving_texture(rows=1, columns=1, scans=CONTEXT + LEADS)
    window = moving_window(scans, CONTEXT).fields_BCHW
    observed = scans[0, CONTEXT - 1, 0].clamp(max=RainScaling().ceiling_mm_h)
    wet, dry = observed >= 0.11, observed < 0.1
    assert torch.allclose(window[0, CONTEXT - 1][wet], observed[wet], rtol=1e-4)
    assert (window[0, CONTEXT - 1][dry] == 0).all()


def test_the_future_of_a_field_at_rest_is_exactly_the_later_scans():
    still = texture(96)[None, None, None].expand(1, CONTEXT, 1, -1, -1)
    later = torch.stack([texture(96, seed) for seed in range(1, LEADS + 1)])[None, :, None]
    window = moving_window(torch.cat([still, later], dim=1), CONTEXT).fields_BCHW
    assert torch.equal(window[0, -LEADS:], later[0, :, 0])


def test_what_stays_is_seen_where_the_rain_will_be():
    """Rain that moves by 3 columns a step over clutter that stays on one row and some columns."""
    scans = moving_texture(rows=0, columns=3, scans=CONTEXT + LEADS).clone()
    clutter = torch.zeros(160, 160)
    clutter[80:90, 80:90] = 30.0
    scans = scans.maximum(clutter)
    window = moving_window(scans, CONTEXT).fields_BCHW[0]
    staying = window[CONTEXT + LEADS : -LEADS].unflatten(0, (LEADS, 3))
    last, mean, least = staying[1]  # at the second lead time: 6 columns to the left of the clutter
    scan = scans[0, CONTEXT - 1, 0].clamp(max=RainScaling().ceiling_mm_h)
    shifted = torch.roll(scan, -6, dims=1)
    inner = (slice(40, -40), slice(40, -40))
    same = torch.isclose(last[inner], shifted[inner], rtol=0.05) | (shifted[inner] < 0.11)
    assert same.float().mean() > 0.8  # the motion is measured, and it is a little off near clutter
    assert (least <= last + 1e-3)[inner].all()
    assert (least <= mean + 1e-3)[inner].all()
    assert float(least[82:88, 76:82].median()) >= 29


def test_the_paths_lead_to_where_the_rain_will_be():
    window = moving_window(moving_texture(rows=2, columns=3, scans=CONTEXT + LEADS), CONTEXT)
    assert window.paths_BL2hw.shape == (1, LEADS, 2, 20, 20)
    for lead, path in enumerate(window.paths_BL2hw[0], start=1):
        columns, rows = path[:, 5:-5, 5:-5].mean(dim=(1, 2)).tolist()
        assert abs(columns - 3 * lead) < 0.1 * lead
        assert abs(rows - 2 * lead) < 0.1 * lead


def test_what_no_scan_observed_is_not_known():
    scans = moving_texture(rows=0, columns=0, scans=CONTEXT + LEADS).clone()
    scans[:, CONTEXT - 1, :, :50, :60] = torch.nan  # in the last scan: no smoothed field there
    scans[:, -1, :, 70:, 70:] = torch.nan  # at the last lead time
    window = moving_window(scans, CONTEXT).fields_BCHW[0]
    smoothed, future = window[CONTEXT : CONTEXT + LEADS], window[-LEADS:]
    assert torch.isnan(smoothed[:, :50, :60]).all()
    assert not torch.isnan(smoothed[:, 60:, 70:]).any()
    assert torch.isnan(future[-1, 70:, 70:]).all()
    assert not torch.isnan(future[0]).any()


def test_trajectories_that_leave_the_domain_have_no_future():
    window = moving_window(
        moving_texture(rows=0, columns=8, scans=CONTEXT + LEADS), CONTEXT
    ).fields_BCHW[0]
    assert torch.isnan(window[-1, 40:-40, -12:]).all()
    assert not torch.isnan(window[-1, 40:-40, 40:-40]).any()


def test_the_numbers_are_those_of_their_version():
    """Kept windows are found again by the version: raise it if this test must change."""
    scans = moving_texture(rows=1, columns=2, scans=CONTEXT + LEADS, side=64)
    window = moving_window(scans, CONTEXT).fields_BCHW[0].nan_to_num()
    means = window.mean(dim=(1, 2))
    expected = torch.tensor(EXPECTED_MEANS)
    assert torch.allclose(means, expected, rtol=2e-3), means


EXPECTED_MEANS = [
    4.1263, 4.1795, 4.2592, 4.3993, 4.4301, 4.2951, 4.1060,
    4.2699, 3.1039, 1.2089, 4.1977, 3.0604, 1.1807, 4.1339,
    3.0102, 1.1515, 4.1975, 3.9463, 3.6620,
]  # fmt: skip
