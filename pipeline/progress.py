"""How long work shows that it goes on: a bar on a terminal, plain lines elsewhere."""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
log = logging.getLogger("squall")


def shows_bars() -> bool:
    """Whether there is a terminal to draw on, and the user has not asked for quiet."""
    return log.isEnabledFor(logging.INFO) and sys.stderr.isatty()


def tracked(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Pass items through; show a bar, or log a line at each quarter."""
    quarters = {-(-total * part // 4): f"{25 * part} %" for part in (1, 2, 3, 4)}
    bars = shows_bars()
    for count, item in enumerate(tqdm(items, desc=label, total=total, disable=not bars), start=1):
        yield item
        if not bars and count in quarters:
            log.info("%s: %d of %d (%s)", label, count, total, quarters[count])
