"""Scores of forecasts: sums over pixels that add up over cases, and the scores from these sums.

This room makes no forecasts, opens no archives, and prints and draws nothing. Start reading at
`sums.py`. To add a score, add an entry to `SCORES` in `table.py`: files, printed tables and the
report then have it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
