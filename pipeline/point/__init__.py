"""The point stage: what a forecast says about one place, as a sentence, a table and a plot.

It reads a forecast file and computes no forecast. Start reading at `run.py`; the sentence is in
`sentence.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
