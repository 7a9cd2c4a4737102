"""Progress of long work: a bar on a terminal, log lines elsewhere."""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
log = logging.getLogger("squall")


def shows_bars() -> bool:
    """Whether to draw bars: standard error is a terminal, and the user did not type --quiet."""
    return log.isEnabledFor(logging.INFO) and sys.stderr.isatty()


def tracked(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Yield the items; meanwhile show a bar, or log a line at each quarter of ``total``."""
    quarters = {-(-total * quarter // 4): f"{25 * quarter} %" for quarter in (1, 2, 3, 4)}
    bars = shows_bars()
    for count, item in enumerate(tqdm(items, desc=label, total=total, disable=not bars), start=1):
        yield item
        if not bars and count in quarters:
            log.info("%s: %d of %d (%s)", label, count, total, quarters[count])
