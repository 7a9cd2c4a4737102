"""Checks of what is scored: shapes, numbers of members, ranges of chances, pixels that count.

Public: `LeadFields`, `check_fields`, `checked_members`, `checked_chances`, `counting_pixels`,
`positive_unique`, `as_lead_times`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from squall.pipeline.scores.chance_sums import Chances

_ROUNDING = 1e-5  # means and convolutions of chances leave 0 to 1 by so much


class LeadFields(Protocol):
    """Fields (y, x) by the number of the lead time: an array, or a file of them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lead times, rows, columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, lead: int, /) -> Any:
        """The field of a lead time."""
        ...


def checked_members(
    ensembles: Mapping[str, Iterable[np.ndarray]],
    forecasts: Mapping[str, LeadFields],
    observed: LeadFields,
) -> dict[str, Iterator[np.ndarray]]:
    """The members of each ensemble, checked lead time by lead time.

    Raises
    ------
    ValueError
        If an ensemble is no method, or has another shape or number of lead times than observed.
    """
    _check_methods("members", ensembles, forecasts)
    counts: set[int] = set()

    def check(name: str, members: np.ndarray) -> None:
        if members.ndim != 3 or members.shape[1:] != observed.shape[1:]:
            raise ValueError(
                f"members of '{name}' have shape {members.shape}, expected (member, y, x) with "
                f"{observed.shape[1:]} pixels."
            )
        counts.add(len(members))
        if len(counts) > 1 or len(members) < 2:
            raise ValueError(
                f"'{name}' has {len(members)} members; all ensembles need the same number, "
                "at least 2."
            )

    def checked(name: str, of_method: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for members in _of_all_lead_times("members", name, of_method, observed.shape[0]):
            check(name, members)
            yield members
            del members  # before the next are made

    return {name: checked(name, of_method) for name, of_method in ensembles.items()}


def checked_chances(
    chances: Mapping[str, Chances],
    forecasts: Mapping[str, LeadFields],
    observed: LeadFields,
    thresholds_mm_h: Sequence[float],
) -> dict[str, Iterator[dict[int, np.ndarray]]]:
    """The chances of each method, (y, x) by number of the threshold, lead time by lead time.

    Raises
    ------
    ValueError
        If chances are of no method, have another shape or number of lead times than observed, are
        at a threshold that is not scored, or lie outside 0 to 1.
    """
    _check_methods("chances", chances, forecasts)
    scored = [float(threshold) for threshold in thresholds_mm_h]

    def checked(name: str, of_method: Chances) -> Iterator[dict[int, np.ndarray]]:
        numbers = [scored.index(threshold) for threshold in of_method.thresholds_mm_h]
        shape = (len(numbers), *observed.shape[1:])
        of_lead_times = of_method.of_lead_times
        for of_lead in _of_all_lead_times("chances", name, of_lead_times, observed.shape[0]):
            if of_lead.shape != shape:
                raise ValueError(
                    f"chances of '{name}' have shape {of_lead.shape}, expected (threshold, y, x), "
                    f"{shape}."
                )
            if ((of_lead < -_ROUNDING) | (of_lead > 1 + _ROUNDING)).any():
                raise ValueError(
                    f"chances of '{name}' lie between {np.nanmin(of_lead):g} and "
                    f"{np.nanmax(of_lead):g}, expected 0 to 1."
                )
            yield dict(zip(numbers, of_lead, strict=True))
            del of_lead  # before the next are made

    for name, of_method in chances.items():
        others = sorted(set(of_method.thresholds_mm_h) - set(scored))
        if others:
            raise ValueError(f"chances of '{name}' at {others} mm/h, which are not scored.")
    return {name: checked(name, of_method) for name, of_method in chances.items()}


def _check_methods(
    what: str, given: Mapping[str, object], forecasts: Mapping[str, LeadFields]
) -> None:
    others = sorted(set(given) - set(forecasts))
    if others:
        raise ValueError(f"{what} of {', '.join(others)}, which has no forecast to score.")


def _of_all_lead_times(
    what: str, name: str, fields: Iterable[np.ndarray], lead_times: int
) -> Iterator[np.ndarray]:
    """The fields; then ValueError, since nobody asks for more than there are lead times."""
    n_leads = 0
    for of_lead in fields:
        n_leads += 1
        yield of_lead
        del of_lead  # before the next are made
    raise ValueError(f"{what} of '{name}' end after {n_leads} of {lead_times} lead times.")


def check_fields(
    forecasts: Mapping[str, LeadFields], observed: LeadFields, valid: LeadFields | None
) -> None:
    """ValueError if there is no forecast, or fields of one case have different shapes."""
    if not forecasts:
        raise ValueError("no forecast to score, expected at least one method.")
    if len(observed.shape) != 3:
        raise ValueError(f"observed has shape {observed.shape}, expected (lead_time, y, x).")
    for method, forecast in forecasts.items():
        if forecast.shape != observed.shape:
            raise ValueError(
                f"forecast '{method}' has shape {forecast.shape}, expected that of the "
                f"observation, {observed.shape}."
            )
    if valid is not None and (
        valid.dtype != bool or valid.shape not in (observed.shape, observed.shape[1:])
    ):
        raise ValueError(
            f"valid is {valid.dtype} with shape {valid.shape}, expected bool with shape "
            f"{observed.shape} or {observed.shape[1:]}."
        )


def counting_pixels(rates: Sequence[np.ndarray], valid_HW: np.ndarray | None) -> np.ndarray:
    """(y, x) whether all fields of a lead time are known and `valid`."""
    known = np.ones(rates[0].shape, bool) if valid_HW is None else valid_HW.copy()
    for rate in rates:
        known &= ~np.isnan(rate)
    return known


def positive_unique(thresholds_mm_h: Sequence[float]) -> np.ndarray:
    thresholds = np.array(thresholds_mm_h, dtype=float)
    if not (thresholds > 0).all() or len(set(thresholds)) < len(thresholds):
        raise ValueError(
            f"thresholds are {thresholds.tolist()} mm/h, expected positive numbers, each once."
        )
    return thresholds


def as_lead_times(lead_times: np.ndarray, n_leads: int) -> np.ndarray:
    lead_times = np.asarray(lead_times)
    if lead_times.dtype.kind != "m" or lead_times.shape != (n_leads,):
        raise ValueError(
            f"lead_times is {lead_times.dtype} with shape {lead_times.shape}, expected "
            f"timedelta64 with shape ({n_leads},), one for each field."
        )
    return lead_times.astype("timedelta64[ns]")
