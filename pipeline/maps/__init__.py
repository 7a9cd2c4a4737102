"""The maps stage: a forecast file becomes maps (PNG), an overview and an animation.

It draws what is in the file and computes no forecast; it uses only coastlines and borders that are
on this machine, never the network. Start reading at `run.py`; how a map looks is in `drawing.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
