"""The training stage: an experiment's configuration, its run folder, and what surrounds a step.

Networks and losses are in `squall.convgru`, samples in `squall.datasets.training`. Start reading
at `run.py`. To let something happen in each step or epoch, write a Lightning callback and add it
in `trainer.py`; to add a tracker, see `trackers.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
