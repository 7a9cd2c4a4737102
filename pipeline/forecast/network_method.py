"""Trained networks as a forecast method, from a checkpoint or from packaged weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from squall.convgru import CheckpointError, Nowcaster, draw_noise, load_nowcaster
from squall.convgru.calibration import Calibration
from squall.convgru.digests import sha256_of
from squall.convgru.ensemble.calibration import EnsembleCalibration, ShareTables
from squall.convgru.heads.exceedance import LeadChances
from squall.convgru.pretrained import UnknownModelError, find_model
from squall.convgru.products import Product
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.forecast.lead_fields import kept_chances, next_fields
from squall.pipeline.forecast.member_chances import chances_in_words, shares_of, weight_of_shares
from squall.pipeline.forecast.mixed_chances import mixed_chances
from squall.pipeline.forecast.names import MARGINAL, MIXED, STOCHASTIC, Engine
from squall.pipeline.forecast.radar_network import calibration_for, check_place, check_product
from squall.pipeline.forecast.resampling import Resampling
from squall.pipeline.forecast.stochastic_method import DEFAULT_SETTINGS, StochasticMethod

Rates = npt.NDArray[np.float32]
USUAL_PRODUCT: Product = "order"
MEMBERS = 8  # of an ensemble network; the forecast is their mean


@dataclass(frozen=True)
class NetworkMethod:
    """A trained network, ready to forecast on one archive; it uses the GPU if there is one.

    If the archive has another time step or grid spacing than the network was trained on, the scans
    and the forecast are resampled (`squall.pipeline.forecast.resampling`).
    """

    path: Path
    nowcaster: Nowcaster
    provenance: dict[str, Any]
    device: torch.device
    resampling: Resampling
    resolution: tuple[float, float]
    product: Product
    calibration: Calibration | None
    stochastic: StochasticMethod
    """makes the members of the engine of this name"""
    asked_engine: Engine | None
    are_chances_raw: bool = False
    """whether the calibration of chances is left out"""

    @classmethod
    def load(
        cls,
        model: str | Path,
        archive: ScanStore,
        product: Product | None = None,
        engine: Engine | None = None,
    ) -> NetworkMethod:
        """Load a network from the path of a checkpoint or by the name of packaged weights.

        Parameters
        ----------
        product : which rain a network of chances gives (`squall.convgru.products`); None: the
            order of the chances with the amounts of the last scan.
        engine : how members are made: ``stochastic``, from the scans alone, ``marginal``, from
            the network's chances, or ``mixed``, some of each (`squall.convgru.ensemble`). None:
            the one that was best on the archive's radar network when the ensembles were calibrated
            there. Without that it is ``mixed`` for networks of chances, ``stochastic`` for others.

        Raises
        ------
        ConfigError
            If there is no such file or name, or the network has no such product or engine.
        DataError
            If the file is damaged, or the network cannot be used at the archive's time step or
            grid spacing, or has a map of another place.
        """
        try:
            path = find_model(str(model))
            nowcaster, provenance = load_nowcaster(path)
        except UnknownModelError as error:
            raise ConfigError(str(error)) from error
        except CheckpointError as error:
            raise DataError(str(error)) from error
        check_place(nowcaster, provenance, path, archive)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        resampling = Resampling.for_archive(
            provenance,
            step_s=archive.step.total_seconds(),
            spacing_m=archive.grid.pixel_size_m,
        )
        calibration = calibration_for(archive, provenance)
        check_product(nowcaster, product, calibration, path, archive)
        if engine not in (None, STOCHASTIC) and not nowcaster.gives_chances:
            raise ConfigError(
                f"{path}: forecasts rain and no chances, so its members cannot be "
                f"{engine}; leave that out, or give a model with network.head exceedance"
            )
        ensemble = calibration.ensemble if calibration else None
        settings = ensemble.settings if ensemble else DEFAULT_SETTINGS
        resolution = (
            archive.step.total_seconds() / 60 * float(resampling.time_factor),
            archive.grid.pixel_size_m / 1000 * float(resampling.space_factor),
        )
        return cls(
            *(path, nowcaster.to(device), provenance, device, resampling, resolution),
            product or USUAL_PRODUCT,
            calibration,
            StochasticMethod.for_archive(archive, resampling.lead_times, settings),
            engine,
        )

    @property
    def name(self) -> str:
        """Name of the model; with product and engine, if they are not the usual ones."""
        product = self.product if self.product != USUAL_PRODUCT else None
        words = (str(self.provenance["name"]), product, self.asked_engine)
        return " ".join(word for word in words if word)

    @property
    def engine(self) -> Engine:
        """How the members are made."""
        usual = MIXED if self.nowcaster.gives_chances else STOCHASTIC
        ensemble = self.ensemble_calibration
        return self.asked_engine or (ensemble.engine if ensemble else usual)

    @property
    def ensemble_calibration(self) -> EnsembleCalibration | None:
        """The calibration of the ensembles on the archive's radar network, if there is one."""
        return self.calibration.ensemble if self.calibration else None

    @property
    def table_around(self) -> ShareTables | None:
        """What turns shares of members within a distance into chances, if anything."""
        ensemble = None if self.are_chances_raw else self.ensemble_calibration
        return ensemble.around.get(self.engine) if ensemble else None

    @property
    def are_chances_shares(self) -> bool:
        """Whether the chances of a forecast with members are plain shares of all members."""
        return self.engine == STOCHASTIC and self._at_pixel is None

    @property
    def _at_pixel(self) -> ShareTables | None:
        """What turns shares of stochastic members into chances, if anything."""
        ensemble = None if self.are_chances_raw else self.ensemble_calibration
        return ensemble.at_pixel if ensemble else None

    @property
    def source_of_chances(self) -> str:
        """Where the chances at the pixel come from that a forecast with members has, for people."""
        return chances_in_words(self.engine, self._at_pixel is not None)

    def with_raw_chances(self, name: str, members: int | None) -> NetworkMethod:
        """The same method without the calibration of chances; parameters as `check_engine`.

        Raises
        ------
        ConfigError
            If the chances are raw already.
        """
        are_shares = members is not None and self.engine == STOCHASTIC
        calibrated = self.ensemble_calibration if are_shares else self.calibration
        if calibrated is None or not (are_shares or self.nowcaster.gives_chances):
            raise ConfigError(
                f"--raw-chances: the chances of {name} are not calibrated on this radar network, "
                "so they are raw already; leave it out"
            )
        return replace(self, are_chances_raw=True)

    @property
    def says_chances(self) -> bool:
        """Whether the chances are the network's own.

        Without a network of chances, and where the engine ``stochastic`` is asked for by its name,
        they are shares of members.
        """
        return self.nowcaster.gives_chances and self.asked_engine != STOCHASTIC

    def check_engine(self, name: str, members: int | None) -> None:
        """Refuse a name that says how members are made, if there are none.

        Parameters
        ----------
        name : as the user knows the model.
        members : how many are asked for, if any.

        Raises
        ------
        ConfigError
            If the name has an engine, and no members are asked for.
        """
        if members is None and self.asked_engine:
            raise ConfigError(
                f"{name}: {self.asked_engine} says how members are made; give --members, or leave "
                "it out"
            )

    @property
    def context(self) -> int:
        """Number of the archive's scans that the network needs as input."""
        return self.resampling.context

    @property
    def stride(self) -> int:
        """The network uses every ``stride``-th of these scans."""
        return self.resampling.stride

    @property
    def lead_times(self) -> int:
        """Number of the archive's time steps that the network was trained to forecast."""
        return self.resampling.lead_times

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file of weights."""
        return sha256_of(self.path)

    @property
    def caution(self) -> str | None:
        """What a user of this network on this archive must know, if anything."""
        if not self.nowcaster.gives_chances or self.calibration is not None:
            return None
        return (
            f"{self.path.name}: is not calibrated on this radar network; its rain amounts are "
            "those of the last scan, and its chances may be too high or too low (see `squall "
            "calibrate`)"
        )

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """Forecast rain rate. An ensemble network gives the mean of `MEMBERS` members.

        Parameters
        ----------
        context : (T, y, x), mm/h, NaN = not observed.

        Returns
        -------
        (lead_time, y, x), mm/h, NaN = not known.
        """
        of_lead = np.dtype((np.float32, context.shape[1:]))
        return np.fromiter(self.leads(context, lead_times), of_lead, lead_times)

    def leads(self, context: Rates, lead_times: int) -> Iterator[Rates]:
        """The forecast (y, x) of `nowcast`, one lead time after the other."""
        return (fields[0] for fields in self.leads_with_chances(context, lead_times, ()))

    def chance_thresholds(self, thresholds_mm_h: Sequence[float]) -> tuple[float, ...]:
        """Those of `THRESHOLDS_MM_H`; none if the method says no chances."""
        if not self.says_chances:
            return ()
        return tuple(level for level in thresholds_mm_h if level in THRESHOLDS_MM_H)

    def leads_with_chances(
        self, context: Rates, lead_times: int, thresholds_mm_h: Sequence[float]
    ) -> Iterator[Rates]:
        """Rain rate and chances; see `squall.pipeline.forecast.methods.ChanceMethod`.

        The chances are calibrated if the network is calibrated on the archive's radar network,
        and the chances are not asked for raw.
        """
        leads = partial(self._leads, thresholds_mm_h=thresholds_mm_h)
        return self.resampling.leads(leads, context, lead_times, thresholds_mm_h)

    def ensemble(
        self, context: Rates, lead_times: int, members: int, reference_time: np.datetime64
    ) -> Iterator[Rates]:
        """Forecast the members; see `squall.pipeline.forecast.methods.EnsembleMethod.ensemble`.

        Those of the engine ``stochastic`` do not depend on the weights. All engines make them at
        the archive's own step and spacing.
        """
        for rates, _ in self.members_and_chances(context, lead_times, members, reference_time, ()):
            yield rates

    def members_and_chances(
        self,
        context: Rates,
        lead_times: int,
        members: int,
        reference_time: np.datetime64,
        thresholds_mm_h: tuple[float, ...],
    ) -> Iterator[tuple[Rates, Rates | None]]:
        """The members, and the chances that they and the network give (`source_of_chances`).

        Parameters
        ----------
        thresholds_mm_h : of the chances, rising; any.

        Yields
        ------
        (member, y, x) mm/h, and (threshold, y, x) or None of each lead time. None: the chances are
        the shares of all members.
        """
        ensemble, table = self.stochastic, self._at_pixel
        size = (context.shape[-2], context.shape[-1])
        scans = context[-ensemble.context :].copy()
        # The network comes first: its states need as much memory as the members do.
        of_network: Any = None
        if self.engine == STOCHASTIC:
            del context  # the scans of a large grid need much memory
            leads = ensemble.ensemble(scans, lead_times, members, reference_time)
        else:
            fields = self.leads_with_chances(context, lead_times, THRESHOLDS_MM_H)
            del context
            of_network = kept_chances(fields, size, lead_times)
            del fields
            is_mixed = self.engine == MIXED
            leads = ensemble.drawn(
                scans, of_network, lead_times, members, reference_time, mixed=is_mixed
            )
        del scans
        is_stochastic = ensemble.are_stochastic(members, reference_time)
        if self.engine == MARGINAL:
            is_stochastic[:] = False
        weight = weight_of_shares(is_stochastic.sum(), 1 - ensemble.settings.marginal_share)
        has_chances = thresholds_mm_h and not self.are_chances_shares
        for number in range(lead_times):
            rates, chances = next(leads, None), None
            assert rates is not None, f"{number} of {lead_times} lead times"
            arguments = thresholds_mm_h, table, (number + 1) * ensemble.step_min
            if has_chances and of_network is None:
                chances = shares_of(rates, *arguments)
            elif has_chances:
                chances = mixed_chances(
                    of_network[number], rates, is_stochastic, weight, *arguments
                )
            yield rates, chances
            del rates, chances  # before the next are made

    def chances(
        self,
        scans: Rates,
        lead_times: int,
        motion_12hw: torch.Tensor | None = None,
    ) -> Iterator[LeadChances]:
        """The chances at the network's own lead times, see `Nowcaster.chances`.

        Parameters
        ----------
        scans : (T, y, x) mm/h, at the network's step and spacing (`Resampling.network_scans`).
        motion_12hw : of the scans, where it is known already.
        """
        step_min, spacing_km = self.resolution
        if motion_12hw is not None:
            motion_12hw = motion_12hw.to(self.device)
        return self.nowcaster.chances(
            self._scans(scans),
            lead_times,
            step_min=step_min,
            spacing_km=spacing_km,
            motion_B2hw=motion_12hw,
        )

    @torch.inference_mode()
    def _leads(
        self,
        scans: Rates,
        lead_times: int,
        motion_12hw: torch.Tensor | None,
        *,
        thresholds_mm_h: Sequence[float],
    ) -> Iterator[Rates]:
        """`leads_with_chances` at the network's own time step and grid spacing."""
        if not self.nowcaster.gives_chances:
            assert not thresholds_mm_h
            return iter(self._rain(scans, lead_times))
        # The generator does not hold the scans: those of a large grid need much memory.
        leads = self.chances(scans, lead_times, motion_12hw)
        chosen = [THRESHOLDS_MM_H.index(level) for level in thresholds_mm_h]
        size = (scans.shape[-2], scans.shape[-1])
        minutes = [number * self.resolution[0] for number in range(1, lead_times + 1)]
        calibrations = [self.calibration.at(m) if self.calibration else None for m in minutes]
        return (
            next_fields(leads, self.product, calibration, self.are_chances_raw, chosen, size)
            for calibration in calibrations
        )

    def _rain(self, scans: Rates, lead_times: int) -> Rates:
        """(lead_time, 1, y, x) of a network that forecasts rain and no chances."""
        context = self._scans(scans)
        noise = draw_noise(self.nowcaster.network, [0], MEMBERS, scans.shape[-2:], self.device)
        rate = self.nowcaster(context, lead_times, noise)
        if noise is not None:
            rate = rate.mean(dim=1)
        return np.asarray(rate[0].float().cpu().numpy())

    def _scans(self, context: Rates) -> torch.Tensor:
        """(1, T, 1, y, x) on the network's device."""
        return torch.from_numpy(np.ascontiguousarray(context))[None, :, None].to(self.device)
