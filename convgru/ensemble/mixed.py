"""Members of both kinds in one ensemble: some from the scans alone, some from a network's chances.

Public: `mixed_members`, `is_marginal`.

Dims: M members, T context steps, K thresholds, H rows, W columns.
"""

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor
from torch.special import ndtr

from squall.convgru.ensemble.marginal import marginal_groups
from squall.convgru.ensemble.members import stochastic_groups
from squall.convgru.ensemble.start import (
    EnsembleRun,
    Groups,
    gathered,
    numbers_of,
    start_of_ensemble,
)


def is_marginal(member: int, run: EnsembleRun) -> bool:
    """Whether a member of a mixed ensemble is drawn from the chances.

    That is drawn at random for each member and reference time. So the members are independent of
    each other, as the fair CRPS supposes; every second member in turn would not be.
    """
    drawn = run.random_source().normal(member, "engine", (1,))
    return float(ndtr(drawn)) < run.settings.marginal_share


def mixed_members(
    scans_THW: Tensor, chances: Iterable[Tensor], lead_times: int, members: int, run: EnsembleRun
) -> Iterator[Tensor]:
    """Members of which a share is marginal, and the others are stochastic.

    Both kinds of ensemble are wrong in their own way, and where they differ neither is sure. The
    CRPS of such a mixture is never above the mean of both, and mostly below each of them
    (linear pool, Stone 1961, doi:10.1214/aoms/1177704873).

    A member is the member with the same number of `stochastic_members` or of `marginal_members`;
    `is_marginal` says of which. So member 3 of 10 is member 3 of 50.

    Parameters
    ----------
    scans_THW : mm/h, NaN = not observed, oldest first, at equal steps.
    chances : for each lead time (K, H, W), as for `marginal_members`.
    lead_times, members : how many.

    Returns
    -------
    (M, H, W) mm/h for each lead time, NaN where the members of one kind are not known.

    Raises
    ------
    ValueError
        As `stochastic_members`.
    """
    of_chances = [number for number in numbers_of(members) if is_marginal(number, run)]
    of_scans = [number for number in numbers_of(members) if not is_marginal(number, run)]
    start = start_of_ensemble(scans_THW, run)
    del scans_THW  # those of a large grid need much memory
    kinds: list[tuple[list[int], Iterator[Groups]]] = []
    if of_chances:
        kinds.append((of_chances, marginal_groups(start, chances, of_chances, run)))
    if of_scans:
        kinds.append((of_scans, stochastic_groups(start, lead_times, of_scans, run)))
    for of_lead in zip(*(leads for _, leads in kinds), strict=True):
        named = [
            _named(groups, numbers) for groups, (numbers, _) in zip(of_lead, kinds, strict=True)
        ]
        del of_lead
        yield gathered(named, members, start)
        del named


def _named(groups: Groups, numbers: Sequence[int]) -> Groups:
    """Members at the places of their numbers in the ensemble."""
    for places, rain in groups:
        own = [numbers[place] for place in places]
        yield own, rain
        del rain
