"""A map of the place: read where the rain will be, the same in training and forecast."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from squall.convgru import EncoderForecaster, ExceedanceLossConfig, NetworkConfig, RainScaling
from squall.convgru.exceedance_module import chances_loss
from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.moving_frame import paths_of_rain, smoothed_scans, staying_rain
from squall.convgru.heads.place import MapGrid, places_of
from squall.convgru.thresholds import THRESHOLDS_MM_H
from tests.convgru.chances_of import chances_of, trained_logits

from ..moving_rain import moving_texture

SIDE, LEADS = 160, 3
GRID = MapGrid.over((SIDE, SIDE), 1.0)
RESOLUTION = torch.tensor([[10.0, 1.0]])


def network(place_channels=6, grid=GRID, seed=0):
    torch.manual_seed(seed)
    place = {"place_channels": place_channels, "place_grid": grid} if place_channels else {}
    config = NetworkConfig(channels=(4, 6, 8), strides=(4, 2, 2), head="exceedance", **place)
    network = EncoderForecaster(config)
    with torch.no_grad():
        network.head.maps.weight.normal_(std=0.5)
    return network


def context():
    return RainScaling().normalise(moving_texture(rows=2, columns=-3, scans=4, side=SIDE))


@pytest.mark.parametrize(
    ("shape", "spacing_km", "expected"),
    [
        ((160, 100), 1.0, (40, 25, 4.0)),
        ((161, 99), 1.0, (41, 25, 4.0)),
        ((90, 80), 5.0, (90, 80, 1.0)),  # no cells smaller than pixels
        ((100, 200), 0.5, (13, 25, 8.0)),
    ],
)
def test_cells_have_four_kilometres(shape, spacing_km, expected):
    grid = MapGrid.over(shape, spacing_km)
    assert (grid.rows, grid.columns, grid.cell_px) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "direct", "place_channels": 2},
        {"head": "exceedance", "place_grid": GRID},
    ],
)
def test_settings_that_a_map_cannot_have_are_refused(settings):
    with pytest.raises(ValidationError, match="place"):
        NetworkConfig(**settings)


def test_a_map_needs_its_grid():
    with pytest.raises(ValueError, match="needs place_grid"):
        network(grid=None)


def test_a_crop_has_the_places_of_its_part_of_the_grid():
    paths = torch.randn(1, 2, 20, 20) * 10
    whole = places_of(paths, torch.zeros(1, 2), (40, 40), 4)
    crop = places_of(paths, torch.tensor([[20.0, 64.0]]), (8, 10), 4)
    assert torch.allclose(crop, whole[:, :, 16:24, 5:15], atol=1e-4)
    column, row = whole[0, :, 0, 0] - paths[0, :, 0, 0]  # beyond the outermost cells' centres
    assert (float(column), float(row)) == pytest.approx((1.5, 1.5), abs=1e-4)


def test_the_map_is_read_where_the_rain_will_be():
    place = network().head.place
    with torch.no_grad():
        place.values[0, 30, 10] = 1.0
        place.mix.weight.zero_()
        place.mix.weight[0, 0, 1, 1] = 1.0
    paths = torch.zeros(2, 2, 20, 20)
    paths[1, 0], paths[1, 1] = -24.0, 40.0  # six features to the left, ten down
    read = place(places_of(paths, torch.zeros(2, 2), (40, 40), 4))[:, 0]
    assert read[0].argmax() == 30 * 40 + 10
    assert read[1].argmax() == 20 * 40 + 16
    assert read.amax(dim=(1, 2)).tolist() == pytest.approx([1.0, 1.0])


def test_a_new_map_changes_nothing_and_can_learn():
    with_map, without = network(), network(place_channels=0)
    missing = with_map.load_state_dict(without.state_dict(), strict=False).missing_keys
    assert set(missing) == {"head.place.values", "head.place.mix.weight"}
    leads = [chances_of(n, *context(), LEADS, RESOLUTION) for n in (with_map, without)]
    for lead, expected in zip(*leads, strict=True):
        assert torch.equal(lead.logits_BKHW, expected.logits_BKHW)
    trained_logits(with_map, *context(), LEADS, RESOLUTION).mean().backward()
    assert with_map.head.place.values.grad.abs().max() > 0
    assert with_map.head.place.mix.weight.grad[:, -2:].abs().max() > 0


def test_windows_with_a_map_give_the_chances_of_a_forecast():
    """Also for a crop; without the encoder's features, its pixels see only what is near them."""
    trained = network().eval()
    head = trained.head
    with torch.no_grad():
        head.place.values.normal_()
        head.place.mix.weight.normal_(std=0.3)
        head.mix.weight[:, :4] = 0
        rain, observed = context()
        expected = chances_of(trained, rain, observed, LEADS, RESOLUTION)
        whole = head.frame(rain, observed)
        smoothed = torch.stack(list(smoothed_scans(whole, band_processes(whole), LEADS)), 1)
        staying = torch.stack(list(staying_rain(whole.at_rest_B3HW, whole.motion_B2hw, LEADS)), 1)
        paths = paths_of_rain(whole.motion_B2hw, LEADS)
        rows, columns = slice(28, 28 + 96), slice(48, 48 + 96)
        cut = (..., rows, columns)
        frame = Frame(
            *(whole.rain_BT1HW[cut], whole.known_BT1HW[cut], None, RESOLUTION),
            paths_BL2hw=paths,
            corner_B2=torch.tensor([[48.0, 28.0]]),
        )
        logits = trained.frame_logits(frame, smoothed[cut], staying[cut], [1, 2, 3])
        kept = frame._replace(paths_BL2hw=paths.half().float())  # as a store keeps them
        elsewhere = frame._replace(corner_B2=torch.zeros(1, 2))
        of_kept, wrong = (
            trained.frame_logits(other, smoothed[cut], staying[cut], [1, 2, 3])
            for other in (kept, elsewhere)
        )
    inner = (..., slice(24, -24), slice(24, -24))
    for number, lead in enumerate(expected):
        there = lead.logits_BKHW[cut][inner]
        assert torch.allclose(logits[:, number][inner], there, atol=1e-3)
        assert torch.allclose(of_kept[:, number][inner].sigmoid(), there.sigmoid(), atol=0.02)
        assert not torch.allclose(wrong[:, number][inner], there, atol=1.0)


GROWS = slice(64, 96)  # rows and columns


def growing_window(corners, speed=8.0, leads=2, side=64):
    """Uniform rain that moves to the right; where it reaches one place, it gets heavy."""
    scans = torch.ones(len(corners), 4, 1, side, side)
    later = torch.ones(len(corners), leads, 1, side, side)
    paths = torch.zeros(len(corners), leads, 2, SIDE // 8, SIDE // 8)
    for number, (column, row) in enumerate(corners):
        for lead in range(leads):
            moved = speed * (lead + 1)
            paths[number, lead, 0] = moved
            columns = torch.arange(side) + column + moved
            rows = torch.arange(side)[:, None] + row
            here = (rows >= GROWS.start) & (rows < GROWS.stop)
            here = here & (columns >= GROWS.start) & (columns < GROWS.stop)
            later[number, lead, 0][here] = 25.0
    return SimpleNamespace(
        context=scans,
        smoothed=torch.ones_like(later),
        staying=torch.ones(len(corners), leads, 3, side, side),
        target=later,
        resolution=RESOLUTION.expand(len(corners), -1),
        paths=paths,
        corner=torch.tensor(corners, dtype=torch.float32),
    )


@pytest.mark.parametrize("place_channels", [0, 3])
def test_rain_that_grows_at_one_place_is_learnt_with_a_map_alone(place_channels):
    learning = network(place_channels)
    maps = [p for name, p in learning.named_parameters() if name == "head.place.values"]
    others = [p for name, p in learning.named_parameters() if name != "head.place.values"]
    groups = [{"params": others, "lr": 1e-2}] + [{"params": maps, "lr": 3e-2}] * len(maps)
    optimiser = torch.optim.Adam(groups)
    draw = torch.Generator().manual_seed(0)
    arguments = RainScaling(), ExceedanceLossConfig()
    for _ in range(200):
        corners = torch.randint(0, SIDE - 64, (4, 2), generator=draw).tolist()
        optimiser.zero_grad()
        sums, _ = chances_loss(learning, *arguments, growing_window(corners), [1, 2])
        sums.value().backward()
        optimiser.step()
    with torch.no_grad():
        batch = growing_window([(40, 50), (90, 30)])
        _, logits = chances_loss(learning, *arguments, batch, [1, 2])
    chance = logits[:, :, THRESHOLDS_MM_H.index(10.0)].sigmoid()
    heavy = batch.target[:, :, 0] >= 10
    inside, outside = (float(chance[where].mean()) for where in (heavy, ~heavy))
    if place_channels:
        assert inside > 0.8
        assert outside < 0.2
    else:
        assert inside < outside + 0.2
