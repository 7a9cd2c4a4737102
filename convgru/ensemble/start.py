"""What all members of an ensemble share: run, frame and band processes.

Public: `EnsembleRun`, `Start`, `start_of_ensemble`, `numbers_of`,
`MemberGroup`, `member_groups`, `Groups`, `gathered`.

Dims: B batch, M members, T context steps, K scale bands, H rows, W columns, h and w of the motion's
coarse grid.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from squall.convgru.ensemble.noise import NoiseProcess, noise_process
from squall.convgru.ensemble.random_numbers import RandomSource
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.file_arrays import release, zeros
from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.moving_frame import lagrangian_frame, smoothed_scans
from squall.convgru.heads.processes import BandProcesses
from squall.convgru.motion import FLOW_SCANS, trajectories
from squall.convgru.scaling import DRY_MM_H, RainScaling

GROUP = 4  # members that are computed at once, at most; it changes no number
GROUP_PX = 2**24  # their pixels, at most; but one member
NOMINAL = RandomSource(0, np.datetime64(0, "s"))  # of the texture where no scan tells one
NOMINAL_SLOPE = 2.7  # of its power spectrum
SCALING = RainScaling()


class EnsembleRun(NamedTuple):
    """What the members of one ensemble follow from, besides the scans."""

    step_min: float
    """time between two scans, and between two lead times"""
    spacing_km: float
    """of the grid"""
    reference_time: np.datetime64
    """the last scan's time"""
    seed: int = 0
    settings: EnsembleSettings = EnsembleSettings()

    def random_source(self) -> RandomSource:
        """Where this ensemble's random numbers come from."""
        return RandomSource(self.seed, self.reference_time)


class Start(NamedTuple):
    """What all members of an ensemble share at the last scan's time."""

    frame: Frame
    processes: BandProcesses
    noise: NoiseProcess
    """of the last scan's bands; of a nominal texture where the scan has no variation"""
    size: tuple[int, int]
    """rows and columns of the scans; the frame may be larger"""

    @property
    def motion_B2hw(self) -> Tensor:
        motion = self.frame.motion_B2hw
        assert motion is not None
        return motion

    def leads(self, lead_times: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each lead time what lasts of the last scan, (1, 1, H, W) normalised dB in the moving
        frame, and the displacement (1, 2, h, w) [px]. It uses up the processes."""
        smoothed = smoothed_scans(self.frame, self.processes, lead_times, use_up=True)
        return zip(smoothed, trajectories(self.motion_B2hw, lead_times), strict=True)


def start_of_ensemble(scans_THW: Tensor, run: EnsembleRun) -> Start:
    """Check the scans and what is said of them, and estimate motion and processes."""
    if scans_THW.ndim != 3 or not scans_THW.numel():
        raise ValueError(f"scans have the shape {tuple(scans_THW.shape)}, not (time, y, x)")
    if not (run.step_min > 0 and run.spacing_km > 0):
        raise ValueError(f"step {run.step_min} min and spacing {run.spacing_km} km are not above 0")
    if np.isnat(run.reference_time):
        raise ValueError("the reference time is not a time")
    scans = scans_THW[-FLOW_SCANS:].float()
    observed = (~scans.isnan()).flatten(1).any(dim=1).tolist()
    if (scans[-1] >= DRY_MM_H).any() and not any(observed[:-1]):
        raise ValueError(
            "an ensemble needs at least two observed scans, to tell how rain moves and how long it "
            f"lasts; only the last of {len(scans)} scans was observed. Ingest the scans before it"
        )
    size = (scans.shape[-2], scans.shape[-1])
    frame = lagrangian_frame(*SCALING.normalise(scans[None, :, None]))
    processes = _with_longest_lifetimes(band_processes(frame), run)
    # the older scans of a large grid need much memory, and are not needed from here on
    last, known = (field[:, -1:].clone() for field in (frame.rain_BT1HW, frame.known_BT1HW))
    frame = frame._replace(rain_BT1HW=last, known_BT1HW=known)
    noise = noise_process(_with_texture(frame), processes, run.settings, run.spacing_km)
    return Start(frame, processes, noise, size)


def _with_texture(frame: Frame) -> Frame:
    """A frame whose last scan has some texture: its own, or a nominal one if it has none."""
    last, known = frame.rain_BT1HW[:, -1:], frame.known_BT1HW[:, -1:]
    rain = last[known > 0]
    if rain.numel() and rain.min() < rain.max():
        return frame
    rows, columns = last.shape[-2:]
    squared = torch.fft.fftfreq(rows)[:, None].square() + torch.fft.rfftfreq(columns).square()
    squared[0, 0] = torch.inf
    white = NOMINAL.normal(0, "texture", (rows, columns))
    texture = torch.fft.irfft2(
        torch.fft.rfft2(white) * squared ** (-NOMINAL_SLOPE / 4), s=(rows, columns)
    )
    return frame._replace(
        rain_BT1HW=(texture / texture.std()).to(last.device).expand_as(last),
        known_BT1HW=torch.ones_like(last),
    )


def _with_longest_lifetimes(processes: BandProcesses, run: EnsembleRun) -> BandProcesses:
    """Processes whose lifetimes are at most the longest of the settings.

    Where scans do not tell a band's lifetime, its process lasts for ever. A forecast may do so; an
    ensemble would have no spread. A process whose correlation of one step is too high becomes one
    of first order with the highest correlation.
    """
    bands = processes.phi_1_BKhw.shape[1]
    lifetimes = [
        run.settings.longest_lifetime_min(2**band * run.spacing_km) for band in range(bands)
    ]
    highest = torch.exp(-run.step_min / processes.phi_1_BKhw.new_tensor(lifetimes))[:, None, None]
    rho_1 = processes.phi_1_BKhw / (1 - processes.phi_2_BKhw)
    lasts = rho_1 > highest
    return processes._replace(
        phi_1_BKhw=torch.where(lasts, highest, processes.phi_1_BKhw),
        phi_2_BKhw=torch.where(lasts, 0.0, processes.phi_2_BKhw),
        previous=processes.previous or processes.as_previous(),
    )


def numbers_of(members: int | Sequence[int]) -> Sequence[int]:
    """The numbers of members, from how many there are or from the numbers themselves."""
    numbers = range(members) if isinstance(members, int) else members
    if not numbers:
        raise ValueError(f"asked for {members} members; give 1 or more")
    return numbers


class MemberGroup(NamedTuple):
    """Members that are computed at once."""

    rows: slice
    """their places in arrays of all members"""
    numbers: Sequence[int]
    """their random numbers follow from these"""

    @property
    def places(self) -> range:
        """``rows`` one by one."""
        return range(self.rows.start, self.rows.stop)


def member_groups(numbers: Sequence[int], size: tuple[int, int]) -> list[MemberGroup]:
    """Members in groups, of fields with some rows and columns."""
    together = min(GROUP, max(1, GROUP_PX // (size[0] * size[1])))
    firsts = range(0, len(numbers), together)
    slices = [slice(first, min(first + together, len(numbers))) for first in firsts]
    return [MemberGroup(rows, numbers[rows]) for rows in slices]


Groups = Iterator[tuple[Sequence[int], Tensor]]  # places of some members, and (M, H, W) mm/h


def gathered(kinds: Sequence[Groups], members: int, start: Start) -> Tensor:
    """(M, H, W): the members of a lead time; NaN where those of one kind are not known.

    Those of a large grid lie in a file: they would fill the memory.

    Parameters
    ----------
    kinds : ensembles whose members are all known at the same pixels.
    """
    shape, device = (members, *start.size), start.motion_B2hw.device
    file = zeros(shape if device.type == "cpu" else (0,), np.float32)
    result = torch.from_numpy(file) if file.size else torch.empty(shape, device=device)
    unknown: list[Tensor] = []
    for groups in kinds:
        for number, (places, rain) in enumerate(groups):
            if not number:
                unknown.append(rain[0].isnan())
            for place, member in zip(places, rain, strict=True):
                result[place] = member
            del rain, member  # before the next are made
            release(file)
    if not torch.equal(unknown[0], unknown[-1]):
        is_unknown = torch.stack(unknown).any(dim=0)
        for member in result:
            member.masked_fill_(is_unknown, torch.nan)
            release(file)
    return result
