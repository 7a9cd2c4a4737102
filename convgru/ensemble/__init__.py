"""The stochastic ensemble: many forecasts that differ as much as the forecast is uncertain.

Nothing here is trained. The members are made in the moving frame of `squall.convgru.heads`: their
scale bands get noise for what is forgotten, their motion and their amounts are perturbed. Start
reading at `members.py` (`stochastic_members`); its numbers are in `settings.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
