"""Pictures that an importer of pysteps can read: which importer, told by comments or by the name.

Owns the guesses for ``importer`` and ``importer_options``. Pictures tell neither grid nor unit, so
that only those of known producers are offered.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from squall.datasets.radar.formats import HEAD_BYTES, PYSTEPS

# product, time and accumulation in minutes, like AQC151351545F_00005.801.gif
_METEOSWISS = re.compile(r"(AQC|CPC)\d{9}\w*_(\d{5})\.\d{3}\.gif", re.ASCII)


def importer_keys(path: str) -> dict[str, Any]:
    """Keys with which pysteps imports a picture; empty for all other files.

    Known are PGM of the Finnish Meteorological Institute, by its comments, and GIF of MeteoSwiss,
    by its name.
    """
    with Path(path).open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith(b"P5") and all(word in head for word in (b"\n# obstime", b"\n# projection")):
        return {"format": PYSTEPS, "importer": "fmi_pgm"}
    named = _METEOSWISS.fullmatch(Path(path).name)
    if head.startswith(b"GIF8") and named is not None:
        options = {"product": named[1], "unit": "mm", "accutime": int(named[2])}
        return {"format": PYSTEPS, "importer": "mch_gif", "importer_options": options}
    return {}
