"""The forecast stage: one nowcast from an archive and a forecast method, written as CF netCDF.

It does not train networks, score forecasts or draw maps. Start reading at `run.py`. To add a
forecast method, write a class like `Persistence` in `methods.py`, its name in `names.py` and its
construction in `find_method`; `squall forecast` and `squall verify` then know it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
