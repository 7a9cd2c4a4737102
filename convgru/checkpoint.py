"""A network with its scaling, and the files from which it is rebuilt.

There are two kinds of files: a checkpoint (``.ckpt``), from which training can continue, and
weights alone (``.safetensors``), a tenth of its size, with the description as JSON in the header.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from squall.convgru.heads.exceedance import ExceedanceHead, LeadChances
from squall.convgru.network import EncoderForecaster, NetworkConfig
from squall.convgru.scaling import RainScaling

CHECKPOINT_KEY = "squall"
WEIGHTS_SUFFIX = ".safetensors"


class CheckpointError(ValueError):
    """A file is not a checkpoint or weights of this project, or cannot be used."""


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
        (B, L, 1, H, W) rain rate, mm/h, for an ensemble network (B, M, L, 1, H, W); NaN where no
        forecast is possible (see `Head.forward` of the network's head).
        """
        rain, observed = self.scaling.normalise(context)
        return self.scaling.denormalise(self.network(rain, observed, lead_times, noise))

    @property
    def gives_chances(self) -> bool:
        """Whether the network forecasts chances (`chances`) and not rain (`forward`)."""
        return isinstance(self.network.head, ExceedanceHead)

    def chances(
        self,
        context: Tensor,
        lead_times: int,
        *,
        step_min: float,
        spacing_km: float,
        motion_B2hw: Tensor | None = None,
    ) -> Iterator[LeadChances]:
        """Forecast the chances of exceeding rain rates, lead by lead.

        Parameters
        ----------
        context, lead_times : as in `forward`.
        step_min, spacing_km : time step and grid spacing of the context.
        motion_B2hw : of the context (`squall.convgru.motion.coarse_motion`), where it is known
            already.

        Returns
        -------
        Chances in the moving frame, which may be larger than the context: rows and columns are
        added at its end.
        """
        head = self.network.head
        assert isinstance(head, ExceedanceHead)
        with torch.no_grad():
            # no name holds the scans of a large grid longer than they are needed
            frame = head.frame(*self.scaling.normalise(context), motion_B2hw)
            resolution = context.new_tensor([[step_min, spacing_km]]).expand(len(context), -1)
            del context
            return self.network.chances(frame._replace(resolution_B2=resolution), lead_times)


def draw_noise(
    network: EncoderForecaster,
    seeds: Sequence[int],
    members: int,
    domain: tuple[int, int],
    device: torch.device,
) -> list[Tensor] | None:
    """Standard normal noise for an ensemble network; None for any other network.

    Parameters
    ----------
    seeds : one for each sample. The same seed gives the same members, in any batch.
    members : number of members, M.
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
    """What is needed beside the weights to rebuild a network.

    Plain values only, so that `torch.load` reads it with ``weights_only``.
    """
    return {
        "network": network.config.model_dump(mode="json"),
        "scaling": {"floor_mm_h": scaling.floor_mm_h, "ceiling_mm_h": scaling.ceiling_mm_h},
        "provenance": provenance,
    }


def load_nowcaster(path: Path) -> tuple[Nowcaster, dict[str, Any]]:
    """Rebuild a trained network from a checkpoint or from weights alone.

    Returns
    -------
    The nowcaster in evaluation mode on the CPU, and the provenance stored with it.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, or neither of the two.
    """
    if path.suffix == WEIGHTS_SUFFIX:
        saved, weights = _read_weights(path)
        return _rebuild(path, saved, weights), saved["provenance"]
    nowcaster, checkpoint = read_checkpoint(path)
    return nowcaster, checkpoint[CHECKPOINT_KEY]["provenance"]


def read_checkpoint(path: Path) -> tuple[Nowcaster, dict[str, Any]]:
    """Read a checkpoint: its network, in evaluation mode on the CPU, and all its entries.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, or not a checkpoint of this project.
    """
    _check_exists(path)
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
    weights = {
        name.removeprefix("network."): value
        for name, value in checkpoint.get("state_dict", {}).items()
        if name.startswith("network.")
    }
    return _rebuild(path, checkpoint[CHECKPOINT_KEY], weights), checkpoint


def write_weights(
    path: Path, nowcaster: Nowcaster, provenance: dict[str, Any], dtype: torch.dtype
) -> None:
    """Write a network's weights and description; the same network gives the same bytes.

    Parameters
    ----------
    path : ends in ``.safetensors``.
    provenance : plain JSON values.
    dtype : of the weights in the file: float32 or float16.
    """
    weights = {
        name: value.to(dtype).contiguous() if value.is_floating_point() else value
        for name, value in nowcaster.network.state_dict().items()
    }
    saved = description(nowcaster.network, nowcaster.scaling, provenance)
    header = {CHECKPOINT_KEY: json.dumps(saved, sort_keys=True)}
    path.write_bytes(save(weights, metadata=header))  # save_file lets only the owner read


def _read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the network's weights."""
    _check_exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as weights ({error}); give a file that `squall export` wrote"
        ) from error
    if CHECKPOINT_KEY not in header:
        raise CheckpointError(
            f"{path}: has no weights of Squall (no '{CHECKPOINT_KEY}' in its header); "
            "give a file that `squall export` wrote"
        )
    try:
        saved = json.loads(header[CHECKPOINT_KEY])
    except ValueError as error:
        raise CheckpointError(
            f"{path}: its header is not JSON ({error}); export it again"
        ) from error
    return saved, weights


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; give the best.ckpt or last.ckpt of a `squall train` run"
        )


def _rebuild(path: Path, saved: Mapping[str, Any], weights: dict[str, Tensor]) -> Nowcaster:
    try:
        network = EncoderForecaster(NetworkConfig.model_validate(saved["network"]))
        network.load_state_dict(weights)
        if not isinstance(saved["provenance"], dict):
            raise TypeError("provenance is not a mapping")
        return Nowcaster(network, RainScaling(**saved["scaling"])).eval()
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: does not fit this version of Squall ({type(error).__name__}: {error}); "
            "train again, or forecast with the version that trained it"
        ) from error
