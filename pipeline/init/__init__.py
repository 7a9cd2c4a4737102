"""The init stage: it looks at radar files and writes the configuration of their network.

It finds format, field, unit, grid and times, and says what is a guess. Start reading at `run.py`,
then `describe.py`, which says what each line of a configuration means.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
