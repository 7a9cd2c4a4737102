"""The transactional archive: one radar network's scans in an Icechunk repository.

Owns the layout, reading, atomic commits, the log of rejected files, snapshots, check and repair; it
does not read radar files (`squall.datasets.radar`) and does not cut training windows
(`squall.datasets.training`). Start reading at the table in `archive`, then at
`writer.ArchiveWriter.commit`; another kind of store needs a class that implements
`scan_store.ScanStore` and a line in `squall.datasets.open_archive`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
