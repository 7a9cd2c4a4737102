"""Readers of radar files, one module a format, chosen by the archive's configuration.

Each opens one file and yields a `squall.datasets.radar.product.Product`.
"""

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Reader


def reader_of(config: RadarNetworkConfig) -> Reader:
    """The reader of an archive's format; imported where it is needed, for its libraries."""
    if config.format == "odim":
        from squall.datasets.radar.readers.odim import open_odim

        return open_odim
    if config.format == "knmi":
        from squall.datasets.radar.readers.knmi_hdf5 import open_knmi

        return open_knmi
    if config.format == "mrms":
        from squall.datasets.radar.readers.mrms_grib import open_mrms

        return open_mrms
    from squall.datasets.radar.readers.cf_netcdf import open_netcdf

    return open_netcdf
