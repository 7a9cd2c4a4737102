"""Scores for people: CSV and printed tables, figures, and one static HTML page.

This room computes no scores and makes no forecasts; names, units and explanations of the scores
come from the table in `squall.pipeline.scores`. Start reading at `page.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
