"""The calibrate stage: what the chances and the ensembles of a network are worth on one radar.

Start reading at `run.py`; the ensembles are in `ensembles.py`. The numbers themselves are
`squall.convgru.calibration`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
