"""The status stage: what an archive holds, as text, JSON and a calendar picture.

It only reads archives; `squall.datasets.archive.check` looks for damage. Start reading at
`summary.py`; the picture is in `calendar_plot.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
