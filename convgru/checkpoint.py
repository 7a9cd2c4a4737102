"""A network with its scaling, and checkpoints that rebuild it without the code that trained it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convgru.network import EncoderForecaster, NetworkConfig
from convgru.scaling import RainScaling

CHECKPOINT_KEY = "squall"


class CheckpointError(ValueError):
    """A file that is no checkpoint of this project, or one that cannot be used."""


class Nowcaster(nn.Module):
    """A network with its scaling: rain rate in mm/h in, rain rate in mm/h out."""

    def __init__(self, network: EncoderForecaster, scaling: RainScaling) -> None:
        super().__init__()
        self.network = network
        self.scaling = scaling

    @torch.no_grad()
    def forward(
        self, context: Tensor, lead_times: int, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Forecast rain rate.

        Parameters
        ----------
        context : (B, T, 1, H, W) rain rate, mm/h, NaN = not observed, oldest scan first.
        lead_times : how many steps to forecast, at the spacing of the context.
        noise : for an ensemble network, see `draw_noise`.

        Returns
        -------
        (B, L, 1, H, W) rain rate, mm/h, of an ensemble network (B, M, L, 1, H, W); NaN where no
        scan of the context observed the pixel.
        """
        rain, observed = self.scaling.normalise(context)
        rate = self.scaling.denormalise(self.network(rain, observed, lead_times, noise))
        known = observed.any(dim=1, keepdim=True)
        if noise is not None:
            known = known.unsqueeze(1)
        return torch.where(known, rate, torch.full_like(rate, torch.nan))


def draw_noise(
    network: EncoderForecaster,
    seeds: Sequence[int],
    members: int,
    domain: tuple[int, int],
    device: torch.device,
) -> list[Tensor] | None:
    """Standard normal noise for an ensemble network; None for another.

    Parameters
    ----------
    seeds : one for each sample: the same seed gives the same members, whatever else is in the
        batch.
    members : how many.
    domain : rows and columns of the scans.

    Returns
    -------
    For each layer (B, M, Z, h, w).
    """
    if not network.config.noise_channels:
        return None
    generator = torch.Generator(device)
    samples = []
    for seed in seeds:
        generator.manual_seed(seed)
        samples.append(
            [
                torch.randn((members, *shape), generator=generator, device=device)
                for shape in network.noise_shapes(*domain)
            ]
        )
    return [torch.stack(layer) for layer in zip(*samples, strict=True)]


def description(
    network: EncoderForecaster, scaling: RainScaling, provenance: dict[str, Any]
) -> dict[str, Any]:
    """What rebuilds a network beside its weights: plain values, so that weights_only loads it."""
    return {
        "network": network.config.model_dump(mode="json"),
        "scaling": {"floor_mm_h": scaling.floor_mm_h, "ceiling_mm_h": scaling.ceiling_mm_h},
        "provenance": provenance,
    }


def load_nowcaster(path: Path) -> tuple[Nowcaster, dict[str, Any]]:
    """Rebuild a trained network from its checkpoint alone.

    Returns
    -------
    The nowcaster in evaluation mode on the CPU, and the provenance stored with it.

    Raises
    ------
    CheckpointError
        As `read_checkpoint`.
    """
    nowcaster, checkpoint = read_checkpoint(path)
    return nowcaster, checkpoint[CHECKPOINT_KEY]["provenance"]


def read_checkpoint(path: Path) -> tuple[Nowcaster, dict[str, Any]]:
    """A checkpoint's network, in evaluation mode on the CPU, and all else that it holds.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, or no checkpoint of this project.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; give the best.ckpt or last.ckpt of a `squall train` run"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}); "
            "give the best.ckpt or last.ckpt of a `squall train` run"
        ) from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise CheckpointError(
            f"{path}: is not a checkpoint of `squall train` (no '{CHECKPOINT_KEY}' entry)"
        )
    try:
        return _rebuild(checkpoint), checkpoint
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: does not fit this version of Squall ({type(error).__name__}: {error}); "
            "train anew, or forecast with the version that trained it"
        ) from error


def _rebuild(checkpoint: dict[str, Any]) -> Nowcaster:
    saved = checkpoint[CHECKPOINT_KEY]
    network = EncoderForecaster(NetworkConfig.model_validate(saved["network"]))
    weights = {
        name.removeprefix("network."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("network.")
    }
    network.load_state_dict(weights)
    if not isinstance(saved["provenance"], dict):
        raise TypeError("provenance is no mapping")
    return Nowcaster(network, RainScaling(**saved["scaling"])).eval()
