"""Names of the forecast methods that need no training, as users write them.

This module imports nothing of Squall, so that the command line and the experiments can check a name
without loading PyTorch. The methods themselves are in `squall.pipeline.forecast.methods`.
"""

from typing import Literal

PERSISTENCE, EXTRAPOLATION = "persistence", "extrapolation"
STOCHASTIC: Literal["stochastic"] = "stochastic"
STEPS, LAGRANGIAN = "steps", "lagrangian-probability"
Engine = Literal["stochastic", "marginal", "mixed"]  # how the members of a network are made
MARGINAL: Engine = "marginal"
MIXED: Engine = "mixed"
ENGINES: tuple[Engine, ...] = (STOCHASTIC, MARGINAL, MIXED)
PYSTEPS_METHODS = ("pysteps-extrapolation", "s-prog", "linda", STEPS, LAGRANGIAN)
METHODS = (PERSISTENCE, EXTRAPOLATION, STOCHASTIC, *PYSTEPS_METHODS)
STEPS_MEMBERS = 20  # members of the STEPS ensemble
