"""The model: ConvGRU cells, network, heads, motion of rain, losses, Lightning module, checkpoints.

This room needs PyTorch, and OpenCV for optical flow; it knows nothing of archives, files of radar
data, commands or scores. Start reading at `squall.convgru.network` (`EncoderForecaster`), then
`squall.convgru.heads`; a new cell goes beside `trajgru.py`, a new head into ``heads/``, a new loss
beside `loss.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
