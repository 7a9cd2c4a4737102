"""Opening one radar file of any format: unpacked, recognised, and given to its reader.

Owns the order of these steps and the words for a file that no reader can use. The formats are in
`squall.datasets.radar.formats`, a reader for each in `squall.datasets.radar.readers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from squall.datasets.errors import ConfigError, DataError, ForecastError, first_line
from squall.datasets.radar.fields import in_words
from squall.datasets.radar.formats import FORMATS, format_of, other_format
from squall.datasets.radar.known_headers import open_known
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Product
from squall.datasets.radar.unpacked import unpacked


@contextmanager
def open_product(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a radar file and yield its scans.

    Parameters
    ----------
    path : a local file, perhaps packed with gzip, bzip2 or xz.
    config : in force at the file's time.

    Raises
    ------
    ConfigError
        If the configuration cannot work for any file of this format.
    ForecastError
        If the file holds forecasts alone.
    DataError
        If the file's format is not known, or the file is broken, or its reader cannot use it.
        Reading a scan raises it too, for a scan that is broken.
    OSError
        If the file cannot be opened, there is no room for its unpacked content, or the library
        that its format needs is not installed and the configuration does not name the format.
    """
    with unpacked(path) as plain, ExitStack() as opened:
        known = open_known(plain, config)
        found = FORMATS["netcdf"] if known is not None else format_of(plain, config.format)
        if found.needs_variable and not config.variable:
            raise DataError(
                f"'variable' is missing: {found.title} files hold several fields; set 'variable' "
                "in the network configuration to the one with rain or reflectivity, of: "
                f"{in_words(found.fields(plain))}"
            )

        def unreadable(error: Exception) -> DataError:
            return DataError(f"cannot be read as {found.title}: {first_line(error)}")

        try:
            product = known or opened.enter_context(found.open(plain, config))
        except ConfigError as error:
            if config.format is None and isinstance(error.__cause__, (ImportError, RuntimeError)):
                # a stray file must not end the run, and is to be read when the library is there
                raise OSError(str(error)) from error
            raise
        except ForecastError:
            raise
        except Exception as error:  # libraries raise any exception for a broken file
            reason = error if isinstance(error, DataError) else unreadable(error)
            raise DataError(f"{reason}{other_format(plain, config.format)}") from error

        def read_stored(scan: int) -> npt.NDArray[Any]:
            try:
                return product.read_stored(scan)
            except (ConfigError, DataError):
                raise
            except Exception as error:  # perhaps only this scan is damaged
                raise unreadable(error) from error

        packing = product.packing
        if config.scale is not None:
            packing = replace(packing, scale=config.scale)
        if config.offset is not None:
            packing = replace(packing, offset=config.offset)
        recognised = found.title if config.format is None else None
        yield replace(product, packing=packing, read_stored=read_stored, recognised=recognised)
