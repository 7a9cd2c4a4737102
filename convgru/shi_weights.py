"""Weights by rain rate of Shi et al. 2017 (arXiv:1706.03458, section 3.3).

Owns the weights of balanced errors: the balanced loss (`squall.convgru.loss`) and the scores
B-MSE and B-MAE use them. Imports nothing, so that scores do not import torch.
"""

SHI_THRESHOLDS_MM_H = (2.0, 5.0, 10.0, 30.0)
"""Rain rates at which the weight rises [mm h-1]."""

SHI_WEIGHTS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Weight below the first threshold, then from each threshold on."""
