"""Data at rest and on its way to the model: radar files, archives, training windows.

Owns everything between a radar file and a batch; it does not know the model (`squall.convgru`) or
the stages (`squall.pipeline`). Start reading at the ground floor (`grid`, `coding`, `times`,
`addresses`), then follow a scan through the rooms: `sources` finds and fetches radar files, `radar`
reads them, `archive` stores scans, `mlcast` reads and writes plain Zarr stores, `open_archive`
opens both, `training` cuts windows, `synthetic` makes radar scans for trials and tests.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
