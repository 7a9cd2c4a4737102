"""What a model file says of one radar network: its calibration there, and its map of the place.

Public: `network_digest`, `calibration_for`, `check_place`, `check_product`, `MAP_OF`.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from squall.convgru import Nowcaster
from squall.convgru.calibration import Calibration
from squall.convgru.products import Product
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError

MAP_OF = "map_of"  # in a model's provenance: the radar network that its map of the place is of


def calibration_for(archive: ScanStore, provenance: dict[str, Any]) -> Calibration | None:
    """The calibration that a model file has for an archive's grid and time step, if any.

    Raises
    ------
    DataError
        If it was made by a version of Squall whose calibrations say something else.
    """
    digest = network_digest(archive)
    for entry in provenance.get("calibrations", ()):
        if entry["grid"] == digest:
            try:
                return Calibration.model_validate(entry)
            except ValidationError as error:
                raise DataError(
                    f"{provenance['name']}: its calibration on {archive.address} is of another "
                    "version of Squall; run `squall calibrate` there again with the model that was "
                    "calibrated"
                ) from error
    return None


def network_digest(archive: ScanStore) -> str:
    """Names a radar network: SHA-256 of its grid and time step."""
    grid = archive.grid
    text = f"{grid.crs_wkt} {archive.step.total_seconds():g} {grid.shape}"
    corners = np.array([grid.x[0], grid.x[-1], grid.y[0], grid.y[-1]]).round(4).tolist()
    return hashlib.sha256(f"{text} {corners}".encode()).hexdigest()[:16]


def check_place(
    nowcaster: Nowcaster, provenance: dict[str, Any], path: Path, archive: ScanStore
) -> None:
    """Check that a map of the place is one of the archive's radar network.

    Raises
    ------
    DataError
        If it is one of another network.
    """
    if not nowcaster.network.config.place_channels:
        return
    if provenance.get(MAP_OF) != network_digest(archive):
        names = ", ".join(str(known["name"]) for known in provenance["archives"])
        raise DataError(
            f"{path}: has a map of the place, learnt on {names}, and {archive.address} has another "
            "grid or time step; use a model without a map (such as squall-base), or train one on "
            "this archive"
        )


def check_product(
    nowcaster: Nowcaster,
    product: Product | None,
    calibration: Calibration | None,
    path: Path,
    archive: ScanStore,
) -> None:
    """Refuse a product that the network does not have on an archive's radar network."""
    if not nowcaster.gives_chances:
        if product is not None:
            raise ConfigError(
                f"{path}: forecasts rain and no chances, so it has no product {product}; leave "
                "the product out, or give a model with network.head exceedance"
            )
        return
    if calibration is None and product in ("best-csi", "unbiased"):
        raise ConfigError(
            f"{path}: is not calibrated on the network of {archive.address}, so it has no product "
            f"{product} there; run `squall calibrate --archive {archive.address} --model {path}` "
            "first, or choose the product order"
        )
