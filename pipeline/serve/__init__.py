"""The stage `serve`: answers requests about what `squall live` publishes.

It reads a folder or a prefix of object storage and writes nothing. Start with `app_of` in
`app.py`. `published.py` follows ``latest.json`` and keeps the frames of the newest run as arrays;
`points.py`, `edr.py`, `rainviewer.py` and `files.py` answer from them; `condition.py` says how far
a forecast may be trusted.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
