"""Synthetic radar: scans of rain that moves, grows and decays like real rain.

This room makes scans as arrays; it writes no files, which `squall.pipeline.synth` does. Start with
`synthetic_scans` in `radar.py`; the physics of the rain is in `rain.py` and `processes.py`, and a
new kind of weather is added to `Weather.drawn`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
