"""Radar files wherever they lie: disks, object stores, web servers, zip and tar containers.

This room lists the files that patterns stand for and gives each one as a local file; it does not
look into a radar file, which `squall.datasets.radar` does. Start with `find_files` in `find.py` and
`local_copy` in `fetch.py`; a new kind of storage is a `Store` in `stores.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
