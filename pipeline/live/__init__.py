"""The stage `live`: a scan arrives, and a forecast of it is published a moment later.

Start with `live` in `run.py`, the loop. It stays small: ingestion and forecasts run in one child
process (`child.py`, `work.py`), which is killed if it takes longer than its deadline. `states.py`
says which run is wanted and what state the forecast is in; `products.py` makes the files of a run;
`store.py` publishes them so that no reader sees half a run; `status.py` writes what people and
monitors watch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
