"""Which known name is meant by one that is not known.

It needs the standard library alone, because `squall --help` must not wait for more.
"""

import difflib
from collections.abc import Iterable


def did_you_mean(typed: str, known: Iterable[str], *, prefix: str = "") -> str:
    """The end of a message: ``; did you mean 'NAME'?``, empty if no known name is near.

    Parameters
    ----------
    prefix : what stands before each known name, like ``--``, and does not make names alike.
    """
    nearest = difflib.get_close_matches(typed, list(known), n=1)
    return f"; did you mean '{prefix}{nearest[0]}'?" if nearest else ""
