"""Readers of radar files, one module a format, chosen by the archive's configuration.

Each opens one file and yields a `datasets.product.Product`.
"""

from datasets.archive_config import ArchiveConfig
from datasets.product import Reader


def reader_of(config: ArchiveConfig) -> Reader:
    """The reader of an archive's format; imported where it is needed, for its libraries."""
    if config.format == "odim":
        from datasets.readers.odim import open_odim

        return open_odim
    if config.format == "knmi":
        from datasets.readers.knmi_hdf5 import open_knmi

        return open_knmi
    if config.format == "mrms":
        from datasets.readers.mrms_grib import open_mrms

        return open_mrms
    from datasets.readers.cf_netcdf import open_netcdf

    return open_netcdf
