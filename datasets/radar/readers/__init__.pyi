from .cf_netcdf import open_netcdf as open_netcdf
from .geotiff import open_geotiff as open_geotiff
from .knmi_hdf5 import open_knmi as open_knmi
from .mrms_grib import open_mrms as open_mrms
from .nimrod import open_nimrod as open_nimrod
from .npz import open_npz as open_npz
from .odim import open_odim as open_odim
