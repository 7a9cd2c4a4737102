"""A small verification of the chain."""

from squall.pipeline.verify.config import VerifyConfig


def config(chain, out, **changes):
    values = {
        "archives": (chain.archive,),
        "models": (chain.model,),
        "out": out,
        "every_minutes": 10,
        "workers": 1,
        "cases": 0,
        "thresholds_mm_h": (0.5, 2.0),
        "scales_km": (1.0, 4.0),
    }
    return VerifyConfig(**values | changes)
