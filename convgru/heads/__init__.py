"""Heads: they turn the forecaster's features into rain at each lead time.

The encoder–forecaster itself is `squall.convgru.network`, and how rain moves is
`squall.convgru.motion`. Start reading at `interface.py` (`Head`), then `direct.py` and
`exceedance.py` with its `moving_frame.py`; a new head implements `Head` and gets a name in
`squall.convgru.network.NetworkConfig`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
