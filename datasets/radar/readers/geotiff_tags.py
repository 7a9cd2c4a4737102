"""What the tags of a GeoTIFF say about its numbers: packing, units and time.

Owns the names of tags. Sources: GDAL's data model of a band (scale, offset, units, nodata), the
items that FMI writes into its tag GDAL_METADATA (``Gain``, ``Offset``, ``Nodata``, ``Undetect``,
``Quantity`` with a ``unit``, ``Observation time``), and the attributes of ODIM HDF5 under the names
that GDAL gives them when it converts such a file, like ``dataset1_what_quantity`` (DPC).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.radar.file_times import TimeError
from squall.datasets.radar.readers.odim import UNITS

MAX_XML = 2**16
_ITEM = re.compile(r'<Item name="([^"<>]{1,99})"([^<>]{0,199})>([^<>]{0,999})</Item>')
_UNIT = re.compile(r'\bunit="([^"]*)"')
_ODIM = ("dataset1_data1_what_", "dataset1_what_", "what_")  # innermost first


@dataclass(frozen=True)
class BandTags:
    """The tags of a band and of its file, by their names in small letters.

    Parameters
    ----------
    texts : text of each tag.
    unit : of the quantity, as FMI writes it; empty if there is none.
    """

    texts: Mapping[str, str]
    unit: str

    @classmethod
    def of(cls, of_file: Mapping[str, str], of_band: Mapping[str, str], bands: int) -> BandTags:
        """Join the tags; those of ODIM count only in files with one band."""
        texts = {name.lower(): text for name, text in {**of_file, **of_band}.items()}
        unit = ""
        for name, attributes, text in _ITEM.findall(texts.pop("gdal_metadata", "")[:MAX_XML]):
            texts.setdefault(name.lower(), text.strip())
            declared = _UNIT.search(attributes)
            if name.lower() == "quantity" and declared:
                unit = declared[1]
        if bands > 1:
            texts = {name: text for name, text in texts.items() if not name.startswith(_ODIM)}
        return cls(texts, unit)

    def number(self, name: str) -> float | None:
        """A number by its name, of FMI's items or of ODIM; None if there is none.

        Raises
        ------
        DataError
            If the text is no number.
        """
        text = self._text(name)
        if text is None:
            return None
        try:
            return float(text)
        except ValueError:
            raise DataError(f"tag '{name}' is '{text[:40]}', expected a number") from None

    def finite(self, name: str) -> float | None:
        """A finite number by its name; see `number`."""
        value = self.number(name)
        if value is not None and not math.isfinite(value):
            raise DataError(f"tag '{name}' is {value}, expected a finite number")
        return value

    def units(self) -> str | None:
        """Units of the values: as FMI writes them, or those of ODIM's quantity."""
        return (
            self.unit
            or self._text("units")
            or self._text("unit")
            or UNITS.get(self._text("quantity") or "")
        )

    def time(self, prefix: str = "") -> pd.Timestamp | None:
        """A time (UTC): ODIM's nominal one, or the one with a prefix, like ``end``."""
        date, time = self._text(f"{prefix}date"), self._text(f"{prefix}time")
        return None if date is None or time is None else moment(date + time, "%Y%m%d%H%M%S")

    def observation_time(self) -> pd.Timestamp | None:
        """FMI's time of the observation (UTC)."""
        text = self.texts.get("observation time")
        return None if text is None else moment(text, "%Y%m%d%H%M")

    def image_time(self) -> pd.Timestamp | None:
        """TIFF's time of the image, which may be that of its making."""
        text = self.texts.get("tifftag_datetime")
        return None if text is None else moment(text, "%Y:%m:%d %H:%M:%S")

    def _text(self, name: str) -> str | None:
        names = (name, *(prefix + name for prefix in _ODIM))
        return next((self.texts[full] for full in names if full in self.texts), None)


def moment(text: str, pattern: str) -> pd.Timestamp:
    """Read a time that a tag holds.

    Raises
    ------
    TimeError
        If the text does not fit the pattern.
    """
    try:
        return pd.Timestamp(datetime.strptime(text.strip(), pattern))
    except ValueError:
        raise TimeError(
            f"has a tag with the time '{text[:40]}', expected {pattern}; correct the files"
        ) from None
