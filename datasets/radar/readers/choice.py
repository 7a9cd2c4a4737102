"""Which reader opens a network's files."""

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Reader

# value of `format` in the network configuration -> the format's name in messages
FORMATS = {"netcdf": "netCDF", "odim": "ODIM HDF5", "knmi": "KNMI HDF5", "mrms": "MRMS GRIB2"}


def reader_of(config: RadarNetworkConfig) -> Reader:
    """Return the reader of a network's file format.

    Readers are imported here, when one is needed, since each brings its own libraries.
    """
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
