"""Many cases scored in this process or in worker processes, block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from squall.pipeline.config import LOCAL
from squall.pipeline.processes import results_of
from squall.pipeline.progress import tracked
from squall.pipeline.verify.blocks import Block, BlockStore
from squall.pipeline.verify.plan import Plan, VerificationCase
from squall.pipeline.verify.scoring import Scorer


def scored_blocks(
    plan: Plan,
    cases: Sequence[VerificationCase],
    store: BlockStore,
    workers: int,
    scheduler: str = LOCAL,
) -> dict[tuple[int, str], Block]:
    """All blocks of the cases, by number of the target and name of the block.

    Stored blocks are loaded; the others are scored and stored. Cases are added up in their order,
    whatever the number of processes, so that the sums are the same to the last bit. A case whose
    process dies, also when it has one of its own, fails; its block is not stored, so that the next
    run repeats it.

    Parameters
    ----------
    workers : number of processes. 1 = this process.
    scheduler : as in `results_of`.
    """
    blocks: dict[tuple[int, str], Block] = {}
    for target, name in dict.fromkeys(map(_key, cases)):
        block = store.load(plan.targets[target], name)
        if block is not None:
            blocks[target, name] = block
    remaining = [case for case in cases if _key(case) not in blocks]
    n_remaining = Counter(map(_key, remaining))
    unfinished: dict[tuple[int, str], Block] = {}
    incomplete: set[tuple[int, str]] = set()

    def lost(case: VerificationCase) -> Block:
        incomplete.add(_key(case))
        return scorer.lost(case)

    scorer = Scorer(plan)
    with results_of(
        *(scorer, remaining, workers),
        preload=__name__,
        advice="Run it again",
        scheduler=scheduler,
        if_lost=lost,
    ) as results:
        scored_cases = tracked(results, "verify", len(remaining), "forecast")
        for case, scored in zip(remaining, scored_cases, strict=True):
            key = _key(case)
            block = unfinished.setdefault(key, Block())
            block.add(scored)
            n_remaining[key] -= 1
            if not n_remaining[key]:
                if key not in incomplete:
                    store.save(plan.targets[case.target], case.block, block)
                blocks[key] = unfinished.pop(key)
    return dict(sorted(blocks.items()))


def _key(case: VerificationCase) -> tuple[int, str]:
    return case.target, case.block
