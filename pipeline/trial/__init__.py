"""The trial of a trained model: calibrated on validation days, scored on test days beside others.

`squall train` ends with it if the experiment has a section ``trial``. Start reading at `run.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
