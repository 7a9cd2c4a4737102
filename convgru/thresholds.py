"""The rain rates whose chances a network forecasts.

Imports nothing, so that maps and tables do not import torch.
"""

THRESHOLDS_MM_H = (0.2, 0.5, 2.0, 5.0, 10.0, 20.0)
