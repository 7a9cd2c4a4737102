"""The verify stage: many forecasts of several methods, scored on the same pixels of the same cases.

It trains nothing and has no formulas of scores (`squall.pipeline.scores`) and no layout of tables
and figures (`squall.pipeline.report`). Start reading at `verify` in `run.py`: it makes a plan
(`plan.py`), scores its cases in worker processes (`workers.py`), and writes files (`output.py`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
