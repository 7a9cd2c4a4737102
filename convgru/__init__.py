"""The model: ConvGRU cells, network, heads, motion of rain, losses, Lightning module, checkpoints.

This room needs PyTorch, and OpenCV for optical flow; it knows nothing of archives, files of radar
data, commands or scores. Start reading at `squall.convgru.network` (`EncoderForecaster`), then
`squall.convgru.heads`; a new cell goes beside `trajgru.py`, a new head into ``heads/``, a new loss
beside `loss.py`.
"""

import os

import lazy_loader

# PyTorch asks Linux for large pages of memory: a forecast of 1,400 x 1,200 pixels is a quarter
# faster. It reads this when it first needs memory.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
