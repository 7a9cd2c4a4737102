"""The synth stage: writes a synthetic radar archive as CF netCDF files, as a radar network would.

It does not make the rain; `squall.datasets.synthetic` does. Start reading at `run.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
