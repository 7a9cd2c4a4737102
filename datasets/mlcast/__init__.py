"""Plain Zarr stores of the MLCast source-data convention, reading and writing side by side.

Owns what the convention says about attributes, coordinates, times and pixels; it does not choose
which scans are exported (`squall.pipeline.export`) and does not use Icechunk. Start reading at
`store.MlcastStore`; a new rule of the convention belongs in ``metadata.py``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
