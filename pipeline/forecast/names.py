"""Names of the forecast methods that need no training, as users write them.

This module imports nothing, so that the command line and the experiments can check a name without
loading PyTorch. The methods themselves are in `squall.pipeline.forecast.methods`.
"""

PERSISTENCE, EXTRAPOLATION, STOCHASTIC = "persistence", "extrapolation", "stochastic"
STEPS, LAGRANGIAN = "steps", "lagrangian-probability"
PYSTEPS_METHODS = ("pysteps-extrapolation", "s-prog", "linda", STEPS, LAGRANGIAN)
METHODS = (PERSISTENCE, EXTRAPOLATION, STOCHASTIC, *PYSTEPS_METHODS)
STEPS_MEMBERS = 20  # members of the STEPS ensemble
