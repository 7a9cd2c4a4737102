"""The weights that a run begins with: those of another model, as far as they fit.

Owns what is taken, what is frozen, and what a checkpoint says of the model they came from.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

from squall.convgru import CheckpointError, EncoderForecaster, load_nowcaster
from squall.convgru.digests import sha256_of
from squall.convgru.pretrained import UnknownModelError, find_model, packaged_models
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.spelling import did_you_mean
from squall.pipeline.forecast.radar_network import MAP_OF
from squall.pipeline.train.experiment import ExperimentConfig, Part

log = logging.getLogger("squall.train")

PART_OF: dict[str, Part] = {
    "downs": "encoder",
    "encoders": "encoder",
    "forecasters": "forecaster",
    "ups": "forecaster",
    "noise_maps": "forecaster",
    "head": "head",
}
MAP = "head.place."  # how the weights of the part map begin


@dataclass(frozen=True)
class FirstWeights:
    """Weights of another model, by their name in the network."""

    model: str
    weights: dict[str, Tensor]
    provenance: dict[str, Any]
    """of the new run: name, digest, and the archives and periods that the model knows"""
    map_of: str | None
    """the radar network of the model's map, if it has one"""

    @classmethod
    def load(cls, model: str) -> FirstWeights:
        """Read a checkpoint, exported weights or a packaged model.

        Raises
        ------
        ConfigError
            If there is no such model.
        DataError
            If its file is damaged.
        """
        try:
            path = find_model(model)
            nowcaster, provenance = load_nowcaster(path)
        except UnknownModelError as error:
            meant = did_you_mean(model, packaged_models())
            raise ConfigError(f"init: {error}{meant}") from error
        except CheckpointError as error:
            raise DataError(f"init: {error}") from error
        origin = {
            "name": provenance["name"],
            "sha256": sha256_of(path),
            "archives": [*provenance["archives"], *provenance.get("init", {}).get("archives", [])],
        }
        map_of = provenance.get(MAP_OF)
        return cls(model, nowcaster.network.state_dict(), origin, map_of)

    def copy_to(
        self, network: EncoderForecaster, freeze: tuple[Part, ...], map_of: str | None = None
    ) -> None:
        """Take the weights that have the same name and shape, and log which.

        A map is taken only if it is that of the radar network ``map_of``.

        Raises
        ------
        ConfigError
            If none fits, or a part that is to be frozen does not fit as a whole.
        """
        own = network.state_dict()
        taken = {
            name: weight
            for name, weight in self.weights.items()
            if name in own
            and own[name].shape == weight.shape
            and (_part(name) != "map" or self.map_of == map_of)
        }
        if not taken:
            raise ConfigError(
                f"init: no layer of {self.model} fits this network; take over its network section "
                "(`head`, `channels`, `strides`), or leave init out"
            )
        network.load_state_dict(taken, strict=False)
        for part, missing in self._missing(own, taken).items():
            if missing and part in freeze:
                raise ConfigError(
                    f"freeze: {part} is not wholly in {self.model} ({', '.join(missing)} would "
                    "stay random); leave it out of freeze"
                )
        log.info("%s", self._summary(own, taken))

    def _missing(self, own: dict[str, Tensor], taken: dict[str, Tensor]) -> dict[Part, list[str]]:
        missing: dict[Part, list[str]] = {part: [] for part in get_args(Part)}
        for name in own.keys() - taken.keys():
            missing[_part(name)].append(name)
        return {part: sorted(names) for part, names in missing.items()}

    def _summary(self, own: dict[str, Tensor], taken: dict[str, Tensor]) -> str:
        """Like "begins with squall-base: encoder 12 of 12 arrays, head 8 of 9; new: head.map"."""
        all_of, taken_of = (Counter(_part(name) for name in names) for names in (own, taken))
        shares = ", ".join(f"{part} {taken_of[part]} of {all_of[part]}" for part in all_of)
        new = sorted(own.keys() - taken.keys())
        left = sorted(name for name in self.weights.keys() - taken.keys() if _part(name) == "map")
        return f"begins with the weights of {self.model}, arrays taken: {shares}" + (
            (f"; new: {', '.join(new)}" if new else "")
            + (f"; left out, of another place: {', '.join(left)}" if left else "")
        )


def freeze_parts(network: EncoderForecaster, parts: tuple[Part, ...]) -> None:
    """Keep the weights of these parts as they are."""
    for name, weight in network.named_parameters():
        if _part(name) in parts:
            weight.requires_grad_(False)


def begin(
    network: EncoderForecaster,
    experiment: ExperimentConfig,
    *,
    resumed: bool,
    map_of: str | None = None,
) -> dict[str, Any]:
    """Prepare a network for the first or the next session of a run.

    Parameters
    ----------
    map_of : the radar network of the network's map, if it has one.

    Returns
    -------
    What the checkpoint says of the model that ``init`` names; empty without it, and for a resumed
    run, whose checkpoint has the weights and the description.
    """
    freeze_parts(network, experiment.freeze)
    if experiment.init is None or resumed:
        return {}
    first = FirstWeights.load(experiment.init)
    first.copy_to(network, experiment.freeze, map_of)
    return {"init": first.provenance}


def _part(name: str) -> Part:
    return "map" if name.startswith(MAP) else PART_OF[name.split(".")[0]]
