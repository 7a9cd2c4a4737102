"""The export stages: an archive becomes a plain Zarr store, a checkpoint becomes published weights.

They change neither archives nor checkpoints, and they upload nothing. Start reading at `run.py` for
archives and at `weights.py` for checkpoints.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
