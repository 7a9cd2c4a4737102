"""The stage `ingest`: radar files into an archive, each file once, one commit for each batch.

This room finds the new files, reads them in worker processes, decides which scan counts, and
commits; listing and fetching files is `squall.datasets.sources`, reading one radar file is
`squall.datasets.radar`, and the archive itself is `squall.datasets.archive`. Start with `ingest` in
`run.py`; the rule by which one of several scans of the same time counts is `decide` in `merge.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
