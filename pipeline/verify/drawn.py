"""The cases that the report draws: of their fields it keeps the samples that a picture needs.

Public: `DrawnFields`. This module chooses no cases (`squall.pipeline.verify.cases`) and draws
nothing (`squall.pipeline.report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from squall.pipeline.maps.sampling import sampled
from squall.pipeline.scores.checks import LeadFields

Rates = npt.NDArray[np.float32]
_MOST_DRAWN = 1536  # pixels of a side of a case: more than twice the dots of its map


def drawn_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the samples of a grid."""
    return min(shape[0], _MOST_DRAWN), min(shape[1], _MOST_DRAWN)


@dataclass(frozen=True, eq=False)
class DrawnFields:
    """Samples of the observation and the forecasts of one case, (lead, y, x), mm/h.

    Parameters
    ----------
    forecasts : by method.
    """

    observed: Rates
    forecasts: dict[str, Rates]

    @classmethod
    def of(
        cls, observed: LeadFields, forecasts: Mapping[str, LeadFields], leads: list[int]
    ) -> DrawnFields:
        """The samples at some lead times, by their numbers."""

        def drawn(rain: LeadFields) -> Rates:
            shape = drawn_shape((rain.shape[1], rain.shape[2]))
            return np.stack([sampled(rain[lead], shape) for lead in leads])

        return cls(drawn(observed), {name: drawn(rain) for name, rain in forecasts.items()})
